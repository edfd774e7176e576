"""One clip from its source to the columns of its row, in slices of time: memory does not grow with its length.

    slice of pictures -> video encoder -> its packets, decoded again: is the worst frame good enough?
                      -> flow, with the last picture of the slice before -> levels -> flow encoder, checked for equality

If a frame is not good enough at one quality, the clip is decoded again for the next. Its flow is computed only once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import IngestConfig
from pipeline.ingest.clip_errors import EncodeError, SourceChanged
from pipeline.ingest.decode.child_process import Slice
from pipeline.ingest.decode.clip import SourceFacts
from pipeline.ingest.encode import FlowWriter, VideoWriter, qualities
from pipeline.ingest.memory import check_stored, check_working
from pipeline.ingest.within import reached

Compute = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A function from frames (T, H, W, 3) to their flow (T - 1, H, W, 2)."""


class Stopwatch:
    """Seconds of work on one clip, by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.stage = "decode"
        """The stage at work, or the last one."""

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the time of a block as work of a stage."""
        self.stage, start = stage, perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += perf_counter() - start

    def decoding(self, slices: Iterator[Slice]) -> Iterator[Slice]:
        """Yield slices, and count the time that they take as decoding."""
        while True:
            with self.of("decode"):
                one = next(slices, None)
            if one is None:
                return
            yield one


def convert(
    read: Callable[[], Iterator[Slice]], config: IngestConfig, compute: Compute | None, watch: Stopwatch
) -> dict[str, Any]:
    """Return the columns of source, video and flow of a shard row.

    Args:
        read: function that begins to decode the clip and gives its slices; it is called once for each quality tried.
        config: settings of ingest.
        compute: function that computes flow; None if no flow is stored.
        watch: stopwatch of this clip.

    Raises:
        ClipError: the clip cannot be decoded; it takes more memory than allowed (`TooLarge`); a frame is below
            `min_psnr` even at the best quality (`EncodeError`); or another file was read the second time.
    """
    known: SourceFacts | None = None
    columns: dict[str, Any] = {}
    for pixel_format, quality in qualities(config.crf):
        pass_ = _Pass(config, pixel_format, quality, None if known else compute, watch)
        with closing(read()) as slices:  # type: ignore[type-var]
            for one in watch.decoding(slices):
                pass_.add(one)
                if one.facts and known and one.facts != known:
                    raise SourceChanged("the file was replaced while it was read")
                known = one.facts or known
                reached((one.start + len(one.pictures)) / config.fps)
                if pass_.useless:
                    break
        columns |= pass_.columns()
        if pass_.good:
            return {**known.columns(), **columns} if known else columns
    raise EncodeError(f"worst frame at {pass_.psnr:.1f} dB of {config.min_psnr:g} even at crf 1")


class _Pass:
    """One decoding of the clip, in which its video is encoded at one quality, and its flow if that is still to do."""

    def __init__(
        self, config: IngestConfig, pixel_format: str, quality: int, compute: Compute | None, watch: Stopwatch
    ) -> None:
        self._config, self._compute, self._watch = config, compute, watch
        self._quality = pixel_format, quality

    def _begin(self) -> None:
        config, (pixel_format, quality) = self._config, self._quality
        self._video = VideoWriter(config.fps, quality, config.gop, pixel_format)
        self._flow = FlowWriter(config.flow.bound, config.fps, config.gop) if self._compute else None
        self._last: NDArray[np.uint8] | None = None  # the last picture of the slice before, (1, H, W, 3)
        self._frames = 0

    @property
    def psnr(self) -> float:
        """PSNR of the worst frame so far, in dB."""
        return self._video.psnr

    @property
    def good(self) -> bool:
        """Whether every frame so far reaches the PSNR that is asked for."""
        return self.psnr >= self._config.min_psnr

    @property
    def useless(self) -> bool:
        """Whether the rest of the clip need not be decoded in this pass."""
        return not self.good and self._flow is None

    def add(self, one: Slice) -> None:
        """Take the next slice; if decoding has started again, what came before is void."""
        if one.start == 0:
            self._begin()
            height, width = one.pictures.shape[1:3]
            check_working(height, width, self._compute is not None, self._config.memory_gib)
        if self.good:
            with self._watch.of("encode"):
                self._video.add(one.pictures)
        if self._flow is not None and self._compute is not None:
            joined = one.pictures if self._last is None else np.concatenate([self._last, one.pictures])
            if len(joined) > 1:
                with self._watch.of("flow"):
                    field = self._compute(joined)
                with self._watch.of("encode"):
                    self._flow.add(field)
            self._last = one.pictures[-1:].copy()  # a view would keep the memory of the slice
        self._frames += len(one.pictures)
        check_stored(
            self._video.size if self.good else 0,
            self._flow.size if self._flow else 0,
            self._frames,
        )

    def columns(self) -> dict[str, Any]:
        """Return the columns of what is complete: video if it is good, flow if it was computed in this pass."""
        with self._watch.of("encode"):
            video = self._video.columns() if self.good else {}
            return video | (self._flow.columns() if self._flow else {})
