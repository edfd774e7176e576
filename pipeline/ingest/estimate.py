"""Estimate of an ingest from its catalog alone: nothing is fetched, decoded or written, and Ray is not started.

The rates were measured for the README; rates that depend on the picture size are per pixel. An estimate is right to
within a factor of two.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.catalog.rows import ARCHIVES, YOUTUBE
from pipeline.config import IngestConfig

ASPECT = 4 / 3
ASSUMED_SECONDS = 10.0  # length of a clip without times, as in Kinetics
ARCHIVED_MB, ADDRESSED_MB, YOUTUBE_MB = 1.5, 1.5, 10.0
"""MB of a clip in the public archives (Kinetics-600: 779 GB / 530,266), a clip at an address, a whole video at 360p."""
VIDEO_BYTES, FLOW_BYTES = 0.055, 0.18
"""Stored bytes per pixel: 4.8 and 15.7 kB per frame of 340x256."""
RGB_PIXELS_PER_SECOND = 10e6
"""Pixels that one core decodes, resizes, encodes and checks per second: 115 frames of 340x256."""
FLOW_PIXELS_PER_SECOND: Mapping[str, float] = {"cpu": 1.8e6, "auto": 1.8e6, "opencv": 0.086e6}
"""Pixels per second for which one core computes TV-L1 with OpenCV's parameters and encodes and checks the flow.

For frames of 340x256 these are 21 pairs per second, or one with `opencv`."""


@dataclass(frozen=True)
class Estimate:
    """The size and cost of an ingest.

    Attributes:
        clips: number of clips of each split, unusable ones included.
        bad: number of clips of each split that cannot be used according to the lists.
        reasons: for each error class of these clips, the message of each.
        sources: number of usable clips for each kind of source: local, address, archive, YouTube.
        videos: number of YouTube videos, each of which is fetched once.
        seconds: seconds of video in all usable clips.
        fetched_bytes: bytes to be read from disks or fetched.
        stored_bytes: bytes of the shard set.
        rgb_core_hours: core-hours of decoding and encoding.
        flow_core_hours: core-hours of TV-L1; None if its rate is not known (cuda).
        youtube_hours: hours of waiting at the rate that `ingest.fetch.youtube_per_hour` allows.
    """

    clips: dict[str, int]
    bad: dict[str, int]
    reasons: dict[str, list[str]]
    sources: dict[str, int]
    videos: int
    seconds: float
    fetched_bytes: float
    stored_bytes: float
    rgb_core_hours: float
    flow_core_hours: float | None
    youtube_hours: float


def estimate(ingest: IngestConfig, catalog: pa.Table) -> Estimate:
    """Estimate the ingest of a catalog."""
    rows = catalog.to_pylist()
    good = [row for row in rows if row["error_class"] is None]
    sources = Counter(_kind(row["source"]) for row in good)
    videos = {row["source"] for row in good if _kind(row["source"]) == "YouTube"}
    seconds = sum(_seconds(row) for row in good)
    settings = ingest
    pixels = seconds * settings.fps * settings.short_side**2 * ASPECT
    flow = "flow" in settings.streams
    rate = FLOW_PIXELS_PER_SECOND.get(settings.flow.backend)
    local = sum(_size(source) for source in {row["source"] for row in good if _kind(row["source"]) == "local"})
    remote = ARCHIVED_MB * sources["archive"] + ADDRESSED_MB * sources["address"] + YOUTUBE_MB * len(videos)
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["error_class"] is not None:
            reasons.setdefault(row["error_class"], []).append(row["error_message"])
    egresses = max(1, len(settings.fetch.youtube_proxies))
    return Estimate(
        clips=dict(sorted(Counter(row["split"] for row in rows).items())),
        bad=dict(Counter(row["split"] for row in rows if row["error_class"] is not None)),
        reasons=reasons,
        sources=dict(sources),
        videos=len(videos),
        seconds=seconds,
        fetched_bytes=local + 1e6 * remote,
        stored_bytes=pixels * (VIDEO_BYTES + flow * FLOW_BYTES),
        rgb_core_hours=pixels / RGB_PIXELS_PER_SECOND / 3600,
        flow_core_hours=(pixels / rate / 3600 if rate else None) if flow else 0.0,
        youtube_hours=len(videos) / settings.fetch.youtube_per_hour / egresses,
    )


def _kind(source: str) -> str:
    if source.startswith(YOUTUBE):
        return "YouTube"
    if source.startswith(ARCHIVES):
        return "archive"
    return "address" if "://" in source else "local"


def _seconds(row: dict[str, object]) -> float:
    """Return the seconds of a clip, from its times, else from the times in its id, else `ASSUMED_SECONDS`."""
    start, end = row["start_s"], row["end_s"]
    if isinstance(start, float) and isinstance(end, float):
        return end - start
    first, _, last = str(row["clip_id"]).rpartition(".")[2].partition("-")
    try:
        return max(0.0, float(last) - float(first))
    except ValueError:
        return ASSUMED_SECONDS


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
