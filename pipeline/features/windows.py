"""Windows over a stream of frames at a constant rate: index arithmetic alone, without pictures.

A window is `frames` indices, `stride` apart; the next window begins `step` frames later. `ends` says what happens where
the clip has no frames:

    drop     only windows that fit whole; the frames behind the last one are left out
    pad      windows until the last frame is in one; the last frame is repeated behind the end
    loop     the same windows; the frames that are left for the last one are repeated from the first of them on
    centred  a window around every `step`-th frame, the first included; border frames are repeated at both ends

A stream asks `ready` which windows are complete so far, and `count` at its end which there are in all. Flow field i
goes from frame i to frame i + 1, so a clip of L frames has windows over L - 1 fields.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.config import ConfigError

Ends = Literal["drop", "pad", "loop", "centred"]
ENDS: tuple[Ends, ...] = get_args(Ends)


class Times(NamedTuple):
    """When a window is shown, in seconds of the source."""

    start_s: float
    """Time at which its first frame that is in the clip appears."""
    end_s: float
    """Time at which its last frame that is in the clip disappears."""
    centre_s: float
    """Time in the middle of both; with `centred`, that of the frame around which the window lies."""


@dataclass(frozen=True)
class Windows:
    """How windows are cut.

    Attributes:
        frames: number of frames of a window.
        stride: step from one frame of a window to the next.
        step: step from the beginning of one window to that of the next.
        ends: what happens at the ends of a clip.
    """

    frames: int
    stride: int = 1
    step: int = 0
    ends: Ends = "drop"

    def __post_init__(self) -> None:
        """Check the numbers; a step of 0 stands for windows side by side.

        Raises:
            ConfigError: a number has no meaning.
        """
        for name, least in (("frames", 1), ("stride", 1), ("step", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name} {getattr(self, name)}: give {least} or more")
        if self.ends not in ENDS:
            raise ConfigError(f"--ends {self.ends}: one of {', '.join(ENDS)}")
        if not self.step:
            object.__setattr__(self, "step", self.frames * self.stride)

    @property
    def span(self) -> int:
        """Number of frames from the first of a window to its last, both included."""
        return (self.frames - 1) * self.stride + 1

    def first(self, number: int) -> int:
        """Return the index of the first frame of a window; it is negative where a centred window begins too early."""
        return number * self.step - self._before

    def ready(self, length: int) -> int:
        """Return the number of windows within the first `length` frames, which no later frame changes."""
        return max(0, (length - self.span + self._before) // self.step + 1)

    def count(self, length: int) -> int:
        """Return the number of windows of a clip of `length` frames."""
        if length <= 0:
            return 0
        if self.ends == "drop":
            return self.ready(length)
        begun = -(-length // self.step)  # windows whose place is in the clip
        return begun if self.ends == "centred" else min(begun, 1 + max(0, -(-(length - self.span) // self.step)))

    def indices(self, number: int, length: int) -> NDArray[np.int64]:
        """Return the frames of a window of a clip of `length` frames, (frames,)."""
        wanted = self.first(number) + self.stride * np.arange(self.frames)
        if self.ends == "loop":
            return np.resize(wanted[wanted < length], self.frames)
        return wanted.clip(0, length - 1)

    def times(self, number: int, length: int, fps: float, start_s: float = 0.0) -> Times:
        """Return when a window is shown.

        Args:
            number: number of the window, from 0.
            length: number of frames of the clip, or of those so far if the window is ready.
            fps: frames per second.
            start_s: time of the clip's first frame in its source, in seconds.
        """
        first = self.first(number)
        start, end = max(first, 0), min(first + self.span, length)
        centre = number * self.step if self.ends == "centred" else (start + end) / 2
        return Times(start_s + start / fps, start_s + end / fps, start_s + centre / fps)

    @property
    def _before(self) -> int:
        """Number of frames of a window that come before the frame at its place."""
        return self.frames // 2 * self.stride if self.ends == "centred" else 0
