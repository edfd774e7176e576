"""A grid of sample clips, with one frame of each clip and the flow from this frame to the next."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.flow import colour, pictured, wheel
from pipeline.shards import decode_flow, decode_video, read_clip
from pipeline.storage import list_files

SAMPLES = 24
LONGEST_SIDE = 320
"""Longest side of a picture in pixels; two pictures side by side fill a third of a desktop's width, or a phone's."""
_QUALITY = 80  # quality of WebP; a picture of 320 x 240 takes about 8 kB
_UNREADABLE = (ValueError, OSError, IndexError, TypeError, pa.ArrowException)


@dataclass(frozen=True)
class Sample:
    """A clip with its pictures as `data:` addresses; a picture is None if it does not decode."""

    clip: dict[str, Any]
    frame: int
    """Index of the frame shown, and of the flow field shown."""
    picture: str | None
    flow: str | None


@dataclass(frozen=True)
class Samples:
    """The grid and its legend."""

    clips: list[Sample]
    radius: float
    """Length of the flow vectors that get fully saturated colours, in all pictures, in pixels."""
    wheel: str


def samples(shards: str, good: pa.Table, most: int = SAMPLES) -> Samples:
    """Draw sample clips spread over the classes; the same set always gives the same clips.

    Args:
        shards: folder or URI of the set.
        good: the readable clips of the set.
        most: largest number of clips to show.
    """
    there = set(list_files(shards))
    chosen = [row for row in choose(good, most) if row["shard"] in there]
    read = [(row, *_read(shards, row)) for row in chosen]
    radius = _radius([field for _, _, field in read if field is not None])
    clips = [
        Sample(
            row,
            (row["num_flow"] or row["num_frames"] or 0) // 2,
            None if frame is None else _data(frame),
            None if field is None else _data(colour(field, radius)),
        )
        for row, frame, field in read
    ]
    return Samples(clips, radius, _data(wheel(192)))


def choose(good: pa.Table, most: int) -> list[dict[str, Any]]:
    """Choose at most `most` clips, in the order of their labels.

    If there are more classes than that, it takes classes at equal distances and one clip of each. Otherwise it takes a
    first clip of each class, then a second one, and so on. The clips of a class are ordered by a digest of their ids.
    """
    classes: dict[str | None, list[tuple[bytes, int]]] = defaultdict(list)
    for row, (clip, label) in enumerate(zip(good["clip_id"].to_pylist(), good["label"].to_pylist(), strict=True)):
        classes[label].append((hashlib.sha256(clip.encode()).digest(), row))
    names = sorted(classes, key=lambda name: (name is None, name))
    if len(names) > most:
        names = [names[place * len(names) // most] for place in range(most)]
    ordered = {name: [row for _, row in sorted(classes[name])] for name in names}
    places = sorted((turn, number) for number, name in enumerate(names) for turn in range(len(ordered[name])))[:most]
    rows = [ordered[names[number]][turn] for number, turn in sorted((number, turn) for turn, number in places)]
    return good.take(pa.array(rows, pa.int64())).to_pylist()


def _read(shards: str, row: dict[str, Any]) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]:
    """Read the middle frame, (H, W, 3), and the flow to the next frame, (H, W, 2) pixels; None if it is unreadable."""
    middle = np.array([(row["num_flow"] or row["num_frames"] or 0) // 2])
    try:
        blobs: Any = read_clip(f"{shards}/{row['shard']}", row["row_group"], ["video", "flow"])
        frame = decode_video(blobs["video"], middle)[0]
        if blobs["flow"] is None:
            return frame, None
        return frame, pictured(decode_flow(blobs["flow"], middle)[0], row["flow_bound"])
    except _UNREADABLE:  # the card is still made, and verification names the clip
        return None, None


def _radius(fields: list[NDArray[np.float32]]) -> float:
    """Return a round number of pixels (such as 0.5, 1, 2, 3, 5 or 10) that few vectors of a typical field exceed."""
    far = (
        max(np.median([np.percentile(np.linalg.norm(field, axis=-1), 99) for field in fields]), 0.5) if fields else 1.0
    )
    return float(next(step for step in _steps() if step >= far))


def _steps() -> Iterator[float]:
    power = 0.1
    while True:
        yield from (power, 2 * power, 3 * power, 5 * power)
        power *= 10


def _data(picture: NDArray[np.uint8]) -> str:
    """Encode an RGB picture as a `data:` address, after reducing its longest side to at most `LONGEST_SIDE`."""
    scale = LONGEST_SIDE / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"
