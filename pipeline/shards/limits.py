"""What a shard set may say: every value of it that a reader acts on lies within bounds that no honest set reaches."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError

from pipeline.shards.tables import ShardError, line

NAME = r"^[A-Za-z0-9_-]{1,64}$"
"""What a data set or a split may be called, since these names become parts of paths and of metrics."""
SHARD = r"^[A-Za-z0-9_-]{1,80}\.parquet$"
"""What a shard may be called; such a name does not lead out of the folder."""

MAX_CLASSES = 100_000
MAX_FRAMES = 4_000_000  # 18 hours at 60 frames a second
MAX_SIDE = 16_384  # pixels
MAX_PIXELS = 2**25  # of a stored picture: 7680 x 4320 of RGB, 4096 x 2160 of flow, whose picture holds two fields
MAX_TEXT = 2**16  # bytes of one text
BOUNDS: dict[str, tuple[float, float]] = {
    "label_id": (0, MAX_CLASSES - 1),
    "num_frames": (1, MAX_FRAMES),
    "num_flow": (0, MAX_FRAMES),
    "height": (1, MAX_SIDE),
    "width": (1, MAX_SIDE),
    "fps": (1, 1000),
    "flow_bound": (1e-3, 1e4),  # pixels
    "video_bytes": (0, 2**40),
    "flow_bytes": (0, 2**40),
    "row_group": (0, 2**24),
    "video_offset": (4, 2**50),
    "flow_offset": (4, 2**50),
}
"""The smallest and largest value of numbers of which a larger one would cost memory or time wherever it is read."""
_ALWAYS = ("clip_id", "dataset", "split", "status")
_READABLE = ("num_frames", "height", "width", "fps", "shard", "row_group")  # of clips that are in a shard

_Name = Annotated[str, Field(pattern=NAME)]
_Text = Annotated[str, Field(max_length=MAX_TEXT)]


class _Counts(BaseModel):
    expected: NonNegativeInt
    present: NonNegativeInt


class _Split(_Counts):
    frames: NonNegativeInt
    failed: dict[_Text, NonNegativeInt]
    labels: dict[_Text, _Counts]


class _Bytes(BaseModel):
    video: NonNegativeInt
    flow: NonNegativeInt


class _Drawn(BaseModel):
    seed: int
    val_fraction: float
    test_fraction: float
    groups: _Text | None = None
    fold: _Text | None = None


class _Settings(BaseModel):
    streams: list[Literal["rgb", "flow"]] = ["rgb"]
    short_side: PositiveInt | None = None


class _Plan(BaseModel):
    settings: _Settings = _Settings()
    split: _Drawn | None = None
    flow_version: _Text | None = None


class _Manifest(BaseModel):
    digest: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    dataset: _Name | None
    labels: Annotated[list[_Text], Field(max_length=MAX_CLASSES)]
    splits: dict[_Name, _Split]
    bytes: _Bytes
    notes: list[_Text] = []
    plan: _Plan


def check_manifest(uri: str, manifest: dict[str, Any]) -> None:
    """Check the types and sizes of what readers use of a manifest.

    Raises:
        ShardError: a value is not as ingest writes it; the message names the first one.
    """
    try:
        _Manifest.model_validate(manifest, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = line(".".join(map(str, first["loc"])))
        raise ShardError(f"{uri}: {where}: {line(first['msg'])}; copy it again, or ingest again") from None


def check_clips(uri: str, clips: pa.Table) -> None:
    """Check the values of a table of clips, of which each column has the right type.

    Raises:
        ShardError: a value is not as ingest writes it; the message names the first one.
    """
    if wrong := next(_wrong(clips), None):
        raise ShardError(f"{uri}: {wrong}; copy it again, or ingest again")


def check_readable(uri: str, clips: pa.Table) -> None:
    """Check that every clip that is ok has a size, a length and a place.

    Raises:
        ShardError: one has none; the message names the column.
    """
    good = clips.filter(pc.field("status") == "ok")
    for name in _READABLE:
        if good[name].null_count:
            raise ShardError(f"{uri}: {name} is missing for a clip that is ok; copy it again, or ingest again")


def _wrong(clips: pa.Table) -> Iterator[str]:
    for name in _ALWAYS:
        if clips[name].null_count:
            yield f"{name} is not a {clips[name].type} in every row"
    states = clips["status"].unique().to_pylist()
    if other := set(states) - {"ok", "failed"}:
        yield f"status is {_shown(min(other))}, and must be ok or failed"
    for name, (low, high) in BOUNDS.items():
        found = pc.min_max(clips[name]).as_py()
        for value in (found["min"], found["max"]):
            if value is not None and not low <= value <= high:
                yield f"{name} is {value}, and must be from {low:g} to {high:g}"
        if pa.types.is_floating(clips[name].type) and pc.any(pc.is_nan(clips[name])).as_py():
            yield f"{name} is not a number"
    area = pc.multiply(pc.cast(clips["height"], pa.int64()), pc.cast(clips["width"], pa.int64()))
    if (pc.max(area).as_py() or 0) > MAX_PIXELS:
        yield f"a clip of {pc.max(area).as_py()} pixels a frame; {MAX_PIXELS} are allowed"
    for name, pattern in (("dataset", NAME), ("split", NAME), ("shard", SHARD)):
        for value in clips[name].unique().drop_null().to_pylist():
            if not re.fullmatch(pattern, value, re.ASCII):
                yield f"{name} is {_shown(value)}, which ingest calls nothing"
    for field in clips.schema:
        if field.type == pa.string() and (pc.max(pc.binary_length(clips[field.name])).as_py() or 0) > MAX_TEXT:
            yield f"{field.name} has a text of more than {MAX_TEXT} bytes"


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")
