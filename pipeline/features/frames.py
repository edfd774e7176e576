"""The frames of a clip and the flow between them as a stream of short parts, so that memory does not grow with length.

A clip is decoded from its video as ingest decodes it, in a child process that may crash; its flow is computed once for
each pair of neighbours. Or both are decoded from a shard set, which has the flow already.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.streams import BLOB
from pipeline.config import IngestConfig
from pipeline.flow import quantise
from pipeline.ingest.convert import Compute, Stopwatch
from pipeline.ingest.decode.child_process import SLICE_PICTURES, slices_from_child
from pipeline.ingest.frames import readable
from pipeline.ingest.memory import check_working
from pipeline.ingest.stages import GPU_PICTURES
from pipeline.shards import ShardError, decode_flow, decode_video, read_clip

Row = dict[str, Any]

STORED = "stored:"
"""Followed by SHARD.parquet#ROW_GROUP: the source of a clip of a shard set."""

STORED_PICTURES = 96
"""Pictures of a part of a stored clip: eight times the usual distance of key frames, at which decoding begins."""


class Part(NamedTuple):
    """Consecutive frames of a clip, and the flow that is known with them."""

    start: int
    """Position of the first frame. A second 0: decoding has started again, and what came before is void."""
    frames: dict[str, NDArray[np.uint8]]
    """For each stream: rgb (T, H, W, 3), flow (T', H, W, 2) in levels; T' is T, and T - 1 in the first part."""
    facts: Row | None
    """Facts of the source, as columns; only the last part has them."""


def decoded(
    row: Row, config: IngestConfig, streams: Sequence[str], compute: Compute | None, watch: Stopwatch
) -> Iterator[Part]:
    """Decode a video, and compute its flow if that is wanted.

    Args:
        row: a clip with `source` or `content`, `start_s` and `end_s`.
        config: frame rate, size and limits of the frames, and the bound of flow.
        streams: the streams to yield.
        compute: function that computes flow; None if it is not wanted.
        watch: stopwatch of this clip.

    Raises:
        ClipError: the clip cannot be used.
    """
    content = row.get("content")
    source = readable(row["source"], config.fetch.max_mib << 20) if content is None else content
    limits = config.fps, config.short_side, config.max_seconds, config.decode_timeout_s
    pictures = GPU_PICTURES if compute and config.flow.backend == "cuda" else SLICE_PICTURES
    last: NDArray[np.uint8] | None = None  # the last picture of the part before, (1, H, W, 3)
    with closing(slices_from_child(source, row["start_s"], row["end_s"], *limits, pictures)) as slices:  # type: ignore[type-var]
        for one in watch.decoding(slices):
            if one.start == 0:
                last = None
                height, width = one.pictures.shape[1:3]
                check_working(height, width, compute is not None, config.memory_gib)
            frames = {"rgb": one.pictures}
            if compute is not None:
                joined = one.pictures if last is None else np.concatenate([last, one.pictures])
                last = one.pictures[-1:].copy()  # a view would keep the memory of the slice
                frames["flow"] = np.empty((0, *joined.shape[1:3], 2), np.uint8)
                if len(joined) > 1:
                    with watch.of("flow"):
                        frames["flow"] = quantise(compute(joined), config.flow.bound)
            yield Part(one.start, {name: frames[name] for name in streams}, one.facts.columns() if one.facts else None)


def stored(shards: str) -> Callable[[Row, Sequence[str], Stopwatch], Iterator[Part]]:
    """Return a function that decodes the streams of a clip of a shard set, which computes no flow.

    Args:
        shards: folder or URI of the set.
    """

    def parts(row: Row, streams: Sequence[str], watch: Stopwatch) -> Iterator[Part]:
        file, _, group = row["source"].removeprefix(STORED).partition("#")
        with watch.of("decode"):
            names = [BLOB[stream] for stream in streams]
            there = read_clip(
                f"{shards}/{file}", int(group), [*names, *(f"{name}_sha256" for name in names), *_FACTS, *_COUNTS]
            )
            for name in names:
                if hashlib.sha256(there[name] or b"").hexdigest() != there[f"{name}_sha256"]:  # type: ignore[arg-type]
                    raise ShardError(f"{file}: the {name} of row group {group} is not the one that was stored")
        length = int(there["num_frames"])  # type: ignore[call-overload]
        for start in range(0, length, STORED_PICTURES):
            end = min(start + STORED_PICTURES, length)
            frames = {}
            with watch.of("decode"):
                if "rgb" in streams:
                    frames["rgb"] = decode_video(there["video"], np.arange(start, end))  # type: ignore[arg-type]
                if "flow" in streams:
                    fields = np.arange(max(start - 1, 0), end - 1)
                    frames["flow"] = decode_flow(there["flow"], fields)  # type: ignore[arg-type]
            yield Part(start, frames, {name: there[name] for name in _FACTS} if end == length else None)

    return parts


_COUNTS = ("num_frames", "num_flow")
_FACTS = (
    "source_codec", "source_width", "source_height", "source_fps", "source_frames", "source_bytes", "source_sha256",
    "packets_sha256", "source_notes",
)  # fmt: skip
