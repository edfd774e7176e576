"""Estimate of an ingest from its catalog alone: nothing is fetched, decoded or written, and Ray is not started.

The rates were measured for the README; rates that depend on the picture size are per pixel. An estimate is right to
within a factor of two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.rows import ARCHIVES, YOUTUBE
from pipeline.config import IngestConfig
from pipeline.ingest.stored_flow import STORED

SHOWN = 3  # messages of an error class that a plan shows
SAMPLED = 1000  # local files that are asked for their size, because 650,000 requests to a file server take minutes
_TIMES = r"^[^.]*\.[^.]*\.(?P<start>[0-9]+(?:\.[0-9]+)?)-(?P<end>[0-9]+(?:\.[0-9]+)?)$"  # in a clip_id

ASPECT = 4 / 3
ASSUMED_SECONDS = 10.0  # length of a clip without times, as in Kinetics
ARCHIVED_MB, ADDRESSED_MB, YOUTUBE_MB = 1.5, 1.5, 10.0
"""MB of a clip in the public archives (Kinetics-600: 779 GB / 530,266), a clip at an address, a whole video at 360p."""
VIDEO_BYTES, FLOW_BYTES = 0.055, 0.18
"""Stored bytes per pixel: 4.8 and 15.7 kB per frame of 340x256."""
RGB_PIXELS_PER_SECOND = 10e6
"""Pixels that one core decodes, resizes, encodes and checks per second: 115 frames of 340x256."""
FLOW_PIXELS_PER_SECOND: Mapping[str, float] = {"cpu": 1.8e6, "auto": 1.8e6, "opencv": 0.086e6, STORED: 10e6}
"""Pixels per second for which one core computes TV-L1 with OpenCV's parameters and encodes and checks the flow.

For frames of 340x256 these are 21 pairs per second, or one with `opencv`. Stored flow is only read and encoded."""


class Reason(NamedTuple):
    """Why some clips cannot be used: their number, and the messages of the first `SHOWN`."""

    clips: int
    messages: list[str]


@dataclass(frozen=True)
class Estimate:
    """The size and cost of an ingest.

    Attributes:
        clips: number of clips of each split, unusable ones included.
        bad: number of clips of each split that cannot be used according to the lists.
        reasons: for each error class of these clips, how many there are and the first messages.
        sources: number of usable clips for each kind of source: local, address, archive, YouTube.
        videos: number of YouTube videos, each of which is fetched once.
        files: number of local files.
        measured: number of local files that were asked for their size; the others count as their mean.
        seconds: seconds of video in all usable clips.
        fetched_bytes: bytes to be read from disks or fetched.
        stored_bytes: bytes of the shard set.
        rgb_core_hours: core-hours of decoding and encoding.
        flow_core_hours: core-hours of TV-L1; None if its rate is not known (cuda).
        youtube_hours: hours of waiting at the rate that `ingest.fetch.youtube_per_hour` allows.
    """

    clips: dict[str, int]
    bad: dict[str, int]
    reasons: dict[str, Reason]
    sources: dict[str, int]
    videos: int
    files: int
    measured: int
    seconds: float
    fetched_bytes: float
    stored_bytes: float
    rgb_core_hours: float
    flow_core_hours: float | None
    youtube_hours: float


def estimate(ingest: IngestConfig, catalog: pa.Table) -> Estimate:
    """Estimate the ingest of a catalog."""
    good = catalog.filter(pc.field("error_class").is_null())
    good = good.append_column("kind", _kinds(good["source"]))
    sources = _counts(good["kind"])
    videos = _distinct(good, "YouTube")
    files = _distinct(good, "local")
    measured, local_bytes = _sizes(files)
    seconds = pc.sum(_seconds(good)).as_py() or 0.0
    settings = ingest
    pixels = seconds * settings.fps * settings.short_side**2 * ASPECT
    flow = "flow" in settings.streams
    rate = FLOW_PIXELS_PER_SECOND.get(settings.flow.backend)
    remote = (
        ARCHIVED_MB * sources.get("archive", 0) + ADDRESSED_MB * sources.get("address", 0) + YOUTUBE_MB * len(videos)
    )
    egresses = max(1, len(settings.fetch.youtube_proxies))
    bad = catalog.filter(pc.field("error_class").is_valid())
    return Estimate(
        clips=dict(sorted(_counts(catalog["split"]).items())),
        bad=_counts(bad["split"]),
        reasons={
            name: Reason(
                count, bad.filter(pc.field("error_class") == name)["error_message"].slice(0, SHOWN).to_pylist()
            )
            for name, count in _counts(bad["error_class"]).items()
        },
        sources=sources,
        videos=len(videos),
        files=len(files),
        measured=measured,
        seconds=seconds,
        fetched_bytes=local_bytes + 1e6 * remote,
        stored_bytes=pixels * (VIDEO_BYTES + flow * FLOW_BYTES),
        rgb_core_hours=pixels / RGB_PIXELS_PER_SECOND / 3600,
        flow_core_hours=(pixels / rate / 3600 if rate else None) if flow else 0.0,
        youtube_hours=len(videos) / settings.fetch.youtube_per_hour / egresses,
    )


def _kinds(sources: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the kind of each source: YouTube, archive, address or local."""
    rest = pc.if_else(pc.match_substring(sources, "://"), "address", "local")
    rest = pc.if_else(pc.starts_with(sources, ARCHIVES), "archive", rest)
    return pc.if_else(pc.starts_with(sources, YOUTUBE), "YouTube", rest)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}


def _distinct(good: pa.Table, kind: str) -> pa.Array:
    """Return the sources of a kind, each once."""
    return good.filter(pc.field("kind") == kind)["source"].unique()


def _seconds(good: pa.Table) -> pa.ChunkedArray:
    """Return the seconds of each clip, from its times, else from the times in its id, else `ASSUMED_SECONDS`."""
    times = pc.extract_regex(good["clip_id"], _TIMES)
    start, end = (pc.cast(pc.struct_field(times, name), pa.float64()) for name in ("start", "end"))
    return pc.coalesce(
        pc.subtract(good["end_s"], good["start_s"]),
        pc.max_element_wise(pc.subtract(end, start), 0.0, skip_nulls=False),
        ASSUMED_SECONDS,
    )


def _sizes(paths: pa.Array) -> tuple[int, float]:
    """Return how many files were asked for their size, and the bytes of all files, from those of `SAMPLED` at most."""
    if not len(paths):
        return 0, 0.0
    places = np.linspace(0, len(paths) - 1, min(SAMPLED, len(paths))).round().astype(np.int64)
    sizes = [_size(path) for path in paths.take(places).to_pylist()]
    return len(sizes), sum(sizes) / len(sizes) * len(paths)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
