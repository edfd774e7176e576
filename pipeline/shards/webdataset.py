"""Writing of a shard set as WebDataset archives, for trainers that read those.

Each shard becomes a tar in the folder of its split, such as `train/train-00000.tar`, and each clip of it some members
with the same key::

    train-00000-0007.mp4         the stored RGB stream, byte for byte
    train-00000-0007.flow.mp4    the stored flow stream; `pipeline.shards.decode_flow` reads it
    train-00000-0007.cls         the number of the class
    train-00000-0007.txt         its name
    train-00000-0007.json        every column of the clip's row, with `clip_id`

`_webdataset.json` says from which set the archives are. It is written first, and each tar appears when it is complete,
so the same command goes on where it was interrupted. Equal sets give equal bytes.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.compute as pc

from pipeline.progress import Progress
from pipeline.shards.manifest import read_clips, read_manifest
from pipeline.shards.schema import FLOW, SCALARS
from pipeline.shards.tables import ShardError, read_clip
from pipeline.storage import exists, list_files, make_folder, read_json, remove_unfinished, write_atomically, write_json

ABOUT = "_webdataset.json"
ENDINGS = {"video": "mp4", "flow": "flow.mp4"}


def write_webdataset(shards: str, folder: str, flow: bool = True) -> dict[str, int]:
    """Write a complete shard set as WebDataset archives.

    Args:
        shards: folder or URI of the set.
        folder: folder or URI for the archives; it must be empty or hold archives of the same set.
        flow: whether to write flow, if the set has it.

    Returns:
        The number of clips of each archive, by its split and name, such as `train/train-00000.tar`.

    Raises:
        ShardError: the set cannot be read, or the folder holds something else.
    """
    about = {"shards": shards, "digest": read_manifest(shards)["digest"], "flow": flow}
    _begin(folder, about)
    clips = read_clips(shards)
    names = sorted(clips["shard"].unique().to_pylist())
    for split in clips["split"].unique().to_pylist():
        make_folder(f"{folder}/{split}")
        remove_unfinished(f"{folder}/{split}")
    done, progress = {}, Progress("webdataset", len(names))
    for shard in names:
        rows = clips.filter(pc.equal(clips["shard"], shard)).sort_by("row_group").to_pylist()
        name = f"{rows[0]['split']}/{shard.removesuffix('.parquet')}.tar"
        if not exists(f"{folder}/{name}"):
            write_atomically(f"{folder}/{name}", _writer(shards, shard, rows, flow))
        done[name] = len(rows)
        progress.advance()
    return done


def _begin(folder: str, about: dict[str, Any]) -> None:
    make_folder(folder)
    there = list_files(folder)
    if ABOUT in there:
        before = read_json(f"{folder}/{ABOUT}")
        if {**before, "shards": about["shards"]} != about:
            raise ShardError(
                f"{folder}: holds archives of another set, or made with other options; give another folder"
            )
    elif there:
        raise ShardError(f"{folder}: holds other files; give a folder that is empty or not there yet")
    write_json(f"{folder}/{ABOUT}", about)


def _writer(shards: str, shard: str, rows: Sequence[dict[str, Any]], flow: bool) -> Any:
    """Return a function that writes the archive of a shard to an open file, one clip in memory at a time."""
    columns = [*(each.name for each in SCALARS), "video", *(["flow"] if flow else [])]

    def write(file: Any) -> None:
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for row in rows:
                clip = read_clip(f"{shards}/{shard}", row["row_group"], columns)
                key = f"{shard.removesuffix('.parquet')}-{row['row_group']:04d}"
                for ending, content in _members(clip, flow):
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))

    return write


def _members(clip: dict[str, Any], flow: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the ending and the content of each member of a clip."""
    for stream, ending in ENDINGS.items():
        if content := clip.get(stream):
            yield ending, content
    if clip["label_id"] is not None:
        yield "cls", str(clip["label_id"]).encode()
    if clip["label"] is not None:
        yield "txt", clip["label"].encode()
    left_out = {"video", "flow", *(() if flow else (each.name for each in FLOW))}
    facts = {name: value for name, value in clip.items() if name not in left_out}
    yield "json", json.dumps(facts, sort_keys=True).encode()
