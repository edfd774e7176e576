"""Motion shapes: a small data set of rendered and encoded clips, in which only the motion tells the class.

The eight classes are textured shapes on textured backgrounds: moving left, right, up, down, rotating clockwise,
anticlockwise, growing, shrinking. A single frame carries no information about the class (`pipeline.catalog.shapes` says
why), so a network can reach its accuracy only through motion. Note for augmentation: a horizontal flip turns moving
left into moving right and clockwise into anticlockwise, so it must be off, or change the label too.

There are three more sets of classes: eight other motions, the first eight slowly, and five patterns, which differ in
appearance only.

The data set has the files of Kinetics and is read by the same reader::

    root/
    ├── motion_shapes.json                    the parameters, which a second call compares
    ├── train.csv  val.csv  test.csv          label,youtube_id,time_start,time_end,split,is_cc
    └── videos/                               the file names do not depend on the class
        └── -0bQ2k3cXyZ_000117_000119.mp4     H.264, yuv420p, 25 fps

Every frame is coded on its own with a constant quantiser. If frames were predicted from their neighbours, their
artefacts would carry traces of the motion, and the file size would tell how well that motion was predicted.
"""

import base64
import csv
import dataclasses
import hashlib
import io
import json
import logging
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.catalog.kinetics import kinetics
from pipeline.catalog.rows import CatalogError, Clip, catalog_table, check_name, clip_id

FPS = 25
CLASS_SETS = ("motions", "other_motions", "slow_motions", "patterns")
CLIPS_PER_CLASS: Mapping[str, int] = {"train": 50, "val": 10, "test": 20}
_log = logging.getLogger(__name__)
_RECORD = "motion_shapes.json"
_OURS = re.compile(r"^[a-z ]+,([A-Za-z0-9_-]{11}),([0-9]+),([0-9]+),", re.ASCII | re.MULTILINE)  # a line of our lists
# Versions of the drawing and encoding. Increase them when either changes, so that older clips are rendered again.
_VERSIONS = {"motions": 2, "other_motions": 2, "slow_motions": 2, "patterns": 3}


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The parameters that determine all clips.

    Attributes:
        clips_per_class: Number of clips of each class in each split.
        frames: Frames per clip, at 25 frames per second.
        size: Height and width in pixels, even and at least 32.
        seed: Seed of all random choices.
        qp: Quantiser of H.264, from 1 (almost lossless) to 51.
        classes: A name in `CLASS_SETS`.
    """

    clips_per_class: Mapping[str, int]
    frames: int
    size: int
    seed: int
    qp: int
    classes: str = "motions"

    def __post_init__(self) -> None:
        if not self.clips_per_class:
            raise CatalogError("motion_shapes: clips_per_class is empty; give {'train': 50, 'val': 10, 'test': 20}")
        for split, count in self.clips_per_class.items():
            check_name("split", split)
            if count < 1:
                raise CatalogError(f"motion_shapes: clips_per_class[{split!r}] is {count}; give at least 1")
        if self.frames < 2:
            raise CatalogError(f"motion_shapes: frames is {self.frames}; motion needs at least 2")
        if self.size < 32 or self.size % 2:
            raise CatalogError(f"motion_shapes: size is {self.size}; give an even number of pixels from 32 on")
        if self.seed < 0:
            raise CatalogError(f"motion_shapes: seed is {self.seed}; give 0 or more")
        if not 1 <= self.qp <= 51:
            raise CatalogError(f"motion_shapes: qp is {self.qp}; give 1 to 51")
        if self.classes not in CLASS_SETS:
            raise CatalogError(f"motion_shapes: classes is {self.classes!r}; give one of {', '.join(CLASS_SETS)}")

    def record(self) -> str:
        """Return the parameters as the JSON text that is stored beside the clips."""
        values = {"version": _VERSIONS[self.classes], **dataclasses.asdict(self)}
        if self.classes == "motions":  # clip names are hashes of this text, which had no classes field at first
            del values["classes"]
        return json.dumps(values, indent=2, sort_keys=True) + "\n"


class PlannedClip(NamedTuple):
    """One clip to render: its row in the CSV, and the seed of its pictures."""

    label: str
    youtube_id: str
    time_start: int
    time_end: int
    split: str
    seed: tuple[int, ...]

    @property
    def file_name(self) -> str:
        """File name in the format of Kinetics."""
        return f"{self.youtube_id}_{self.time_start:06d}_{self.time_end:06d}.mp4"


def motion_shapes(
    root: str | os.PathLike[str],
    clips_per_class: Mapping[str, int] = CLIPS_PER_CLASS,
    frames: int = 32,
    size: int = 64,
    seed: int = 0,
    qp: int = 18,
    classes: str = "motions",
    plan: bool = False,
) -> pa.Table:
    """Render the clips that are missing, and read all with the Kinetics reader; the arguments are those of `render`.

    If `plan` is set, nothing is rendered or written, and the rows name the files that would be.
    """
    if plan:
        return _planned_table(root, Parameters(dict(clips_per_class), frames, size, seed, qp, classes))
    render(root, clips_per_class, frames, size, seed, qp, classes)
    lists = {split: Path(root) / f"{split}.csv" for split in clips_per_class}
    return kinetics(lists, Path(root) / "videos", dataset="motion_shapes")


def render(
    root: str | os.PathLike[str],
    clips_per_class: Mapping[str, int] = CLIPS_PER_CLASS,
    frames: int = 32,
    size: int = 64,
    seed: int = 0,
    qp: int = 18,
    classes: str = "motions",
) -> int:
    """Render the clips and their lists into `root`; the module's docstring shows the files.

    A second call with the same parameters does nothing. After an interruption, the next call renders the clips that are
    missing. A call with other parameters replaces all clips. Files are renamed into place, so every clip that exists is
    complete.

    Args:
        root: Folder to write to; it is created if needed, and other files in it stay.
        clips_per_class: Number of clips of each class in each split.
        frames: Frames per clip, at 25 frames per second.
        size: Height and width in pixels, even.
        seed: Seed of all random choices; the same seed gives the same pixels.
        qp: Constant quantiser of H.264; 18 leaves no visible artefacts.
        classes: A name in `CLASS_SETS`.

    Returns:
        The number of clips that this call has rendered.

    Raises:
        CatalogError: a parameter is out of range, or `root` holds a record or a list that is not ours.
    """
    parameters = Parameters(dict(clips_per_class), frames, size, seed, qp, classes)
    top = Path(root)
    videos = top / "videos"
    _remove_others(top, parameters)
    videos.mkdir(parents=True, exist_ok=True)
    _write(top / _RECORD, parameters.record().encode())
    clips = list(planned(parameters))
    for split in parameters.clips_per_class:  # before the clips, so that the lists name what an interrupted call leaves
        _write(top / f"{split}.csv", _list(clip for clip in clips if clip.split == split))
    present = {entry.name for entry in os.scandir(videos)}
    todo = [clip for clip in clips if clip.file_name not in present]
    if todo:
        _log.info("motion_shapes: rendering %d of %d clips into %s", len(todo), len(clips), videos)
    for clip in todo:
        _write(videos / clip.file_name, _encode(clip, parameters))
    return len(todo)


def planned(parameters: Parameters) -> Iterator[PlannedClip]:
    """Yield the clips in the order of their lists; label, name, times and pictures are drawn independently."""
    from pipeline.catalog import shapes

    sets: dict[str, Iterable[str]] = {
        "motions": shapes.CLASSES,
        "other_motions": shapes.OTHER_MOTIONS,
        "slow_motions": shapes.SLOW_MOTIONS,
        "patterns": shapes.PATTERNS,
    }
    names = sorted(sets[parameters.classes])
    record = parameters.record().encode()
    for split, count in parameters.clips_per_class.items():
        part = zlib.crc32(split.encode())  # by name, so that the order of splits does not matter
        labels = np.random.default_rng([parameters.seed, part]).permutation(np.repeat(names, count))
        for n, label in enumerate(labels):
            # 66 bits of a hash of all parameters, so that other parameters never give the same name or clip_id.
            digest = hashlib.sha256(record + f"{split} {n}".encode()).digest()
            start = int.from_bytes(digest[9:11]) % 600
            youtube_id = base64.urlsafe_b64encode(digest[:9]).decode()[:11]
            end = start + max(1, -(-parameters.frames // FPS))
            yield PlannedClip(str(label), youtube_id, start, end, split, (parameters.seed, part, n))


def _planned_table(root: str | os.PathLike[str], parameters: Parameters) -> pa.Table:
    """Return the catalog that `motion_shapes` would return after rendering."""
    videos = os.path.abspath(Path(root) / "videos")  # noqa: PTH100 -- as `video_files` gives it
    dataset = "motion_shapes"
    return catalog_table(
        dataset,
        (
            Clip(
                clip_id(dataset, clip.youtube_id, clip.time_start, clip.time_end),
                clip.split,
                clip.label,
                os.path.join(videos, clip.file_name),  # noqa: PTH118
            )
            for clip in planned(parameters)
        ),
    )


def _encode(clip: PlannedClip, parameters: Parameters) -> bytes:
    import av

    from pipeline.catalog.shapes import clip_frames

    rng = np.random.default_rng(list(clip.seed))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        options = {"qp": str(parameters.qp), "preset": "veryfast", "g": "1", "threads": "1", "flags": "+bitexact"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width = stream.height = parameters.size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for picture in clip_frames(clip.label, parameters.frames, parameters.size, rng):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def _list(clips: Iterator[PlannedClip]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", "youtube_id", "time_start", "time_end", "split", "is_cc"])
    writer.writerows([c.label, c.youtube_id, c.time_start, c.time_end, c.split, 1] for c in clips)
    return text.getvalue().encode()


def _write(path: Path, data: bytes) -> None:
    """Write a file under a hidden name, then rename it; do nothing if it has the same bytes already."""
    if path.exists() and path.read_bytes() == data:
        return
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_bytes(data)
    hidden.replace(path)


def _remove_others(top: Path, parameters: Parameters) -> None:
    """Remove the clips and lists of an earlier call with other parameters, and no other file."""
    record = top / _RECORD
    if not record.exists():
        for split in parameters.clips_per_class:
            if (top / f"{split}.csv").exists():
                raise CatalogError(f"{top}: holds a {split}.csv that motion_shapes did not write; give another folder")
        return
    if record.read_text() == parameters.record():
        return
    try:
        splits = list(json.loads(record.read_text())["clips_per_class"])
    except (ValueError, TypeError, KeyError) as error:
        raise CatalogError(f"{record}: not a record of motion_shapes; give another folder, or remove it") from error
    for split in splits:
        check_name("split", split)
        path = top / f"{split}.csv"
        if not path.exists():
            continue
        # Take only names of our own pattern: an edited list must not delete files outside the folder.
        for name in _OURS.findall(path.read_text()):
            (top / "videos" / "{}_{:0>6}_{:0>6}.mp4".format(*name)).unlink(missing_ok=True)
        path.unlink()
