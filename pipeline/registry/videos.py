"""Encoded videos to the arrays that networks are shown, several at a time, in memory that does not grow with them."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import IngestConfig
from pipeline.evaluation.view_cuts import ViewCuts
from pipeline.flow import quantise, tvl1
from pipeline.ingest.clip_errors import TooLong
from pipeline.ingest.decode.child_process import decode_in_child

Video = bytes | Path
"""The content of a video file, or where it lies on this machine."""

Arrays = dict[str, NDArray[np.uint8]]
"""The whole clip of each stream, (T, H, W, C)."""

AT_A_TIME = 4
"""Videos that are decoded at once, at most; as many again may wait for their turn."""

WAITING_BYTES = 1 << 30
"""While decoded videos of so many bytes wait, no further one is begun."""

PAIRS = 32
"""Pairs of frames that a thread computes the flow of at a time; on a GPU `GPU_PAIRS`."""

GPU_PAIRS = 256


@dataclass
class Reader:
    """Reads videos as ingest would store them.

    Attributes:
        ingest: rate, size, limits and flow of the stored clips.
        streams: which are wanted.
        flow_backend: computes the flow.
    """

    ingest: IngestConfig
    streams: tuple[str, ...]
    flow_backend: str
    cpus: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def __post_init__(self) -> None:
        self._decoding = ThreadPoolExecutor(min(self.cpus, AT_A_TIME), "decode")  # each thread has a child of its own
        self._flow = ThreadPoolExecutor(1 if self.flow_backend == "cuda" else self.cpus, "flow")

    def warm_up(self) -> None:
        """Compile or load the kernels of the flow, so that the first video does not wait for them."""
        if "flow" in self.streams:
            tvl1(np.zeros((2, 32, 32, 3), np.uint8), self.flow_backend, **self.ingest.flow.parameters)

    def read_all(self, videos: Iterable[Video], cuts: ViewCuts) -> Iterator[Arrays | Exception]:
        """The arrays of each video in their order, or why there are none. Some are read ahead.

        Args:
            videos: are taken one by one as there is room for them.
            cuts: say which flow is shown; the rest is left at zero.
        """
        waiting: deque[Future[Arrays | Exception]] = deque()
        coming = iter(videos)
        while True:
            while len(waiting) < 2 * AT_A_TIME and _size(waiting) < WAITING_BYTES:
                video = next(coming, None)
                if video is None:
                    break
                waiting.append(self._decoding.submit(self._try, video, cuts))
            if not waiting:
                return
            yield waiting.popleft().result()

    def read(self, video: Video, cuts: ViewCuts) -> Arrays:
        """See `read_all`.

        Raises:
            ClipError: the video cannot be used.
        """
        ingest = self.ingest
        source = video if isinstance(video, bytes) else str(video)
        try:
            frames, _ = decode_in_child(  # what was sent is of unknown origin: it may hang or crash a decoder
                source, None, None, ingest.fps, ingest.short_side, ingest.max_seconds, ingest.decode_timeout_s
            )
        except TooLong:
            raise TooLong(f"longer than {ingest.max_seconds:g} s, the most that this model takes; cut it") from None
        made = {"rgb": lambda: frames, "flow": lambda: self._shown_flow(frames, cuts)}
        return {stream: made[stream]() for stream in self.streams}

    def _try(self, video: Video, cuts: ViewCuts) -> Arrays | Exception:
        try:
            return self.read(video, cuts)
        except Exception as error:
            return error

    def _shown_flow(self, frames: NDArray[np.uint8], cuts: ViewCuts) -> NDArray[np.uint8]:
        """Quantised flow, (T - 1, H, W, 2), where it is shown; in a piece of memory that grows as it is written to."""
        shown, _ = cuts.views(len(frames) - 1, "flow")
        levels = np.zeros((len(frames) - 1, *frames.shape[1:3], 2), np.uint8)

        def compute(run: slice) -> None:
            pairs = frames[run.start : run.stop + 1]
            field = tvl1(pairs, self.flow_backend, **self.ingest.flow.parameters)
            levels[run] = quantise(field, self.ingest.flow.bound)

        list(self._flow.map(compute, runs(shown, GPU_PAIRS if self.flow_backend == "cuda" else PAIRS)))
        return levels


def runs(numbers: NDArray[np.int64], longest: int) -> list[slice]:
    """Rising numbers as slices of neighbours, each of `longest` at most."""
    ends = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [
        slice(int(run[0]) + start, int(run[0]) + min(start + longest, len(run)))
        for run in np.split(numbers, ends)
        for start in range(0, len(run), longest)
    ]


def _size(waiting: Iterable[Future[Arrays | Exception]]) -> int:
    """Bytes of those that are read."""
    done = [future.result() for future in waiting if future.done()]
    return sum(array.nbytes for each in done if isinstance(each, Mapping) for array in each.values())
