"""Reading of encoded videos to arrays, several at a time, in memory that does not grow with their number."""

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
"""The content of a video file, or its path on this machine."""

Arrays = dict[str, NDArray[np.uint8]]
"""The whole clip of each stream, (T, H, W, C)."""

AT_A_TIME = 4
"""Largest number of videos that are decoded at once; as many again may wait for their turn."""

WAITING_BYTES = 1 << 30
"""No further video is begun while decoded videos of this many bytes wait."""

PAIRS = 32
"""Largest number of frame pairs whose flow a thread computes at a time; on a GPU it is `GPU_PAIRS`."""

GPU_PAIRS = 256


@dataclass
class Reader:
    """A reader of videos, which returns them as ingest would store them.

    Attributes:
        ingest: frame rate, size, limits and flow of the stored clips.
        streams: streams to return.
        flow_backend: backend that computes the flow.
        cpus: number of CPUs to use.
    """

    ingest: IngestConfig
    streams: tuple[str, ...]
    flow_backend: str
    cpus: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def __post_init__(self) -> None:
        self._decoding = ThreadPoolExecutor(min(self.cpus, AT_A_TIME), "decode")  # each thread has a child process
        self._flow = ThreadPoolExecutor(1 if self.flow_backend == "cuda" else self.cpus, "flow")

    def warm_up(self) -> None:
        """Compile or load the flow kernels, so that the first video does not wait for them."""
        if "flow" in self.streams:
            tvl1(np.zeros((2, 32, 32, 3), np.uint8), self.flow_backend, **self.ingest.flow.parameters)

    def read_all(self, videos: Iterable[Video], cuts: ViewCuts) -> Iterator[Arrays | Exception]:
        """Yield the arrays of each video, in order, or the error that occurred; some videos are read ahead.

        Args:
            videos: the videos; one is taken whenever there is room for it.
            cuts: the views, which say which flow is shown; flow that is not shown is left at zero.
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
        """Read one video; see `read_all`.

        Raises:
            ClipError: the video cannot be used.
        """
        ingest = self.ingest
        source = video if isinstance(video, bytes) else str(video)
        try:
            frames, _ = decode_in_child(  # a video of unknown origin may hang or crash the decoder
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
        """Compute quantised flow, (T - 1, H, W, 2), where it is shown; the rest stays zero and takes no memory."""
        shown, _ = cuts.views(len(frames) - 1, "flow")
        levels = np.zeros((len(frames) - 1, *frames.shape[1:3], 2), np.uint8)

        def compute(run: slice) -> None:
            pairs = frames[run.start : run.stop + 1]
            field = tvl1(pairs, self.flow_backend, **self.ingest.flow.parameters)
            levels[run] = quantise(field, self.ingest.flow.bound)

        list(self._flow.map(compute, runs(shown, GPU_PAIRS if self.flow_backend == "cuda" else PAIRS)))
        return levels


def runs(numbers: NDArray[np.int64], longest: int) -> list[slice]:
    """Group increasing numbers into slices of consecutive ones, each with at most `longest` numbers."""
    ends = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [
        slice(int(run[0]) + start, int(run[0]) + min(start + longest, len(run)))
        for run in np.split(numbers, ends)
        for start in range(0, len(run), longest)
    ]


def _size(waiting: Iterable[Future[Arrays | Exception]]) -> int:
    """Return the number of bytes of the videos that have been read."""
    done = [future.result() for future in waiting if future.done()]
    return sum(array.nbytes for each in done if isinstance(each, Mapping) for array in each.values())
