"""Small shard sets made by hand, with real bytes, for the tests of whoever reads them."""

import hashlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.shards import CLIPS_SCHEMA, SHARD_SCHEMA, encode_flow, encode_video
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.row_groups import offsets_in
from pipeline.shards.tables import write_table

PLAN, RATE = {"dataset": "by_hand"}, {"clips": 8, "seconds": 12.5, "stages": {}}
LABELS = ("pouring milk", "stirring", "whisking")


@dataclass
class Made:
    """A shard set and what went into it, by clip id."""

    path: str
    clips: pa.Table
    rows: dict[str, dict[str, Any]]
    frames: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    levels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


def pictures(number: int, frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """(T, H, W, 3): grey of one level a frame, so that a decoded frame tells the clip and its position in it."""
    levels = 40 + 40 * number + 4 * np.arange(frames)
    return np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).astype(np.uint8)


def clip_row(
    number: int, split: str, label_id: int | None, frames: int, height: int = 32, width: int = 48
) -> tuple[dict[str, Any], NDArray[np.uint8], NDArray[np.uint8]]:
    """A row of the shard schema with its blobs, the frames and the levels behind them."""
    images = pictures(number, frames, height, width)
    levels = np.random.default_rng(number).integers(0, 256, (frames - 1, height, width, 2), dtype=np.uint8)
    video, flow = encode_video(images, 25, 10, 6), encode_flow(levels, 25, 6)
    row = {
        "clip_id": f"clip-{number}",
        "dataset": "by_hand",
        "split": split,
        "label": None if label_id is None else LABELS[label_id],
        "label_id": label_id,
        "source": f"/videos/{number}.mp4",
        "status": "ok",
        "num_frames": frames,
        "num_flow": frames - 1,
        "height": height,
        "width": width,
        "fps": 25,
        "video": video,
        "video_bytes": len(video),
        "video_sha256": hashlib.sha256(video).hexdigest(),
        "flow": flow,
        "flow_bound": 20.0,
        "flow_bytes": len(flow),
        "flow_sha256": hashlib.sha256(flow).hexdigest(),
    }
    return row, images, levels


def failed_row(number: int, split: str, label_id: int, error_class: str) -> dict[str, Any]:
    """A clip that could not be read."""
    return {
        "clip_id": f"clip-{number}",
        "dataset": "by_hand",
        "split": split,
        "label": LABELS[label_id],
        "label_id": label_id,
        "source": f"/videos/{number}.mp4",
        "status": "failed",
        "error_class": error_class,
        "error_message": f"/videos/{number}.mp4: {error_class}",
    }


def make_set(folder: Path, streams: tuple[str, ...] = ("rgb", "flow")) -> Made:
    """Two training clips in one shard, one of validation in another, one unlabelled test clip; four failed."""
    contents = {
        "train-00000.parquet": [clip_row(3, "train", 1, 12), clip_row(0, "train", 0, 9)],
        "val-00000.parquet": [clip_row(1, "val", 2, 12)],
        "test-00000.parquet": [clip_row(2, "test", None, 5)],
    }
    if "flow" not in streams:
        for row, _, _ in itertools.chain(*contents.values()):
            row |= {name: None for name in row if name == "num_flow" or name.startswith("flow")}
    folder.mkdir(exist_ok=True)
    made = Made(str(folder), CLIPS_SCHEMA.empty_table(), {})
    rows = []
    for name, clips in contents.items():
        write_table(pa.Table.from_pylist([row for row, _, _ in clips], SHARD_SCHEMA), f"{folder}/{name}")
        offsets = offsets_in(f"{folder}/{name}")
        for group, (row, images, levels) in enumerate(clips):
            rows.append({**row, "shard": name, "row_group": group, **offsets[group]})
            made.frames[row["clip_id"]], made.levels[row["clip_id"]] = images, levels
    rows += [
        failed_row(7, "train", 0, "ZeroByte"),
        failed_row(8, "train", 2, "DecodeError"),
        failed_row(9, "train", 2, "ZeroByte"),
        failed_row(6, "extra", 2, "FileNotFound"),
    ]
    made.clips = pa.Table.from_pylist(rows, CLIPS_SCHEMA)
    made.rows = {row["clip_id"]: row for row in rows}
    write_manifest(made.path, made.clips, summarise(made.clips, PLAN, RATE))
    return made
