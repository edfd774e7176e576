"""What is kept of a stream's pictures: turned upright by its display matrix, pixel for pixel as they are stored.

A phone stores pictures as its sensor lies and says in a matrix how they are to be turned: players follow it, and so
does this. A Kinetics copy of 340x256 is often a 16:9 picture, squeezed, that says so in its pixel aspect ratio (64:51).
Players stretch it; the readers that the published networks were trained and tested with do not, nor does this: it is
noted, so that whoever mixes copies can tell them apart.

An interlaced frame stays one picture: every reader of the published data sets decoded whole frames, the resize to a
short side of 256 averages most of the comb away, and a deinterlacer would invent the motion that flow then measures.
"""

from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.ingest.clip_errors import DecodeError, TooLarge

MAX_PICTURE_BYTES = 64 << 20
"""Of one picture of the result: at a short side of 256, an aspect of 340 to 1."""


@dataclass(frozen=True)
class View:
    """From a decoded frame to the picture that is kept, upright and resized.

    `width` and `height` are those of the result in pixels. Its rows are the frame's columns where `transposed`; then it
    is flipped upside down (`flipped`) and left to right (`mirrored`).
    """

    width: int
    height: int
    transposed: bool = False
    flipped: bool = False
    mirrored: bool = False
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter, compare=False, repr=False)

    def picture(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """The frame as (H, W, 3) uint8 RGB."""
        width, height = (self.height, self.width) if self.transposed else (self.width, self.height)
        resized = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation="BILINEAR", threads=1
        ).to_ndarray()
        turned = resized.transpose(1, 0, 2) if self.transposed else resized
        turned = turned[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]
        return np.ascontiguousarray(turned)

    @property
    def picture_bytes(self) -> int:
        """Bytes of one picture."""
        return 3 * self.width * self.height

    @property
    def turned(self) -> bool:
        """Whether the display matrix changes anything."""
        return self.transposed or self.flipped or self.mirrored


def view_of(frame: av.VideoFrame, short_side: int) -> View:
    """How this frame is kept, with the shorter side as asked.

    Args:
        frame: a decoded frame; its display matrix is followed, to the nearest quarter turn.
        short_side: shorter side of the result in pixels; both sides are rounded to even numbers.

    Raises:
        TooLarge: the aspect is such that the longer side would take `MAX_PICTURE_BYTES`.
    """
    transposed, flipped, mirrored = _turn(frame)
    width, height = (frame.height, frame.width) if transposed else (frame.width, frame.height)
    scale = Fraction(short_side, min(width, height))
    even_width, even_height = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    view = View(even_width, even_height, transposed, flipped, mirrored)
    if view.picture_bytes > MAX_PICTURE_BYTES:
        raise TooLarge(
            f"{frame.width}x{frame.height} with a shorter side of {short_side} makes pictures of "
            f"{even_width}x{even_height}; {MAX_PICTURE_BYTES >> 20} MiB a picture are the most"
        )
    return view


def check_same_shape(view: View, now: View) -> None:
    """A stream may change its resolution, not its shape: windows of a clip are cut from equal pictures.

    Raises:
        DecodeError: the pictures of `now` are not those of `view`.
    """
    if now != view:
        raise DecodeError(
            f"the picture changes its shape part-way, from {view.width}x{view.height} to {now.width}x{now.height}"
        )


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transposed, flipped, mirrored) of the display matrix, which takes (x, y) to (a x + c y, b x + d y)."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None or len(bytes(matrix)) < 36:
        return False, False, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0
