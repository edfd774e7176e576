"""The clips of one split as arrays: what a loader needs to find, sample and label any of them.

What is trained on is what the data digest names: `load` compares the table of clips with the manifest, and `blob`
compares the bytes of each stream with their SHA-256 in that table. `load` reads only the columns that it compares or
keeps. A job loads an index once; its other processes get the arrays through Ray's object store (`loader.shared`).
"""

import binascii
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.clips.stored_clips import Places, StoredClips
from pipeline.clips.streams import BLOB
from pipeline.shards import ShardError, read_verified
from pipeline.shards.manifest import CLIPS
from pipeline.shards.splits import in_split, splits_of

_SHA256 = 32  # bytes


@dataclass(frozen=True, kw_only=True)
class ClipIndex(StoredClips):
    """The clips of one split of a complete shard set, in the order of their ids.

    Attributes:
        split: name of the split.
        digest: the digest of the set.
        labels: names of the classes of the whole set.
        clip_ids: (clips,) text.
        label: (clips,) int64, -1 where unlabelled.
        reference: the index in Ray's object store without what decoding does not need; see `loader.shared`.
    """

    split: str
    digest: str
    labels: tuple[str, ...]
    clip_ids: NDArray[np.str_]
    label: NDArray[np.int64]
    reference: Any = None

    @classmethod
    def load(cls, shards: str, split: str) -> "ClipIndex":
        """Read the index of a split.

        Raises:
            ShardError: the set is not complete, its table of clips is not the one of its manifest, or it has no such
                split or no readable clip in the split.
        """
        manifest, clips = read_verified(shards)
        if split not in (there := splits_of(manifest["splits"])):
            raise ShardError(f"{shards}: no split {split!r}; it has {', '.join(there)}")
        clips = clips.filter(in_split(clips["split"], split)).filter(pc.field("status") == "ok").sort_by("clip_id")
        if not len(clips):
            raise ShardError(f"{shards}: no clip of split {split!r} could be read; see _clips.parquet for the reasons")
        files = clips["shard"].combine_chunks().dictionary_encode()
        return cls(
            shards=shards,
            split=split,
            digest=manifest["digest"],
            labels=tuple(manifest["labels"]),
            files=tuple(files.dictionary.to_pylist()),
            clip_ids=clips["clip_id"].to_numpy(zero_copy_only=False).astype(str),
            file=files.indices.to_numpy(),
            row_group=clips["row_group"].to_numpy(),
            label=clips["label_id"].fill_null(-1).to_numpy().astype(np.int64),
            num_frames=clips["num_frames"].to_numpy(),
            num_flow=clips["num_flow"].fill_null(0).to_numpy(),
            size=np.stack([clips["height"].to_numpy(), clips["width"].to_numpy()], axis=1),
            places={stream: _places(shards, clips, blob) for stream, blob in BLOB.items()},
        )

    def stored(self, streams: tuple[str, ...] = tuple(BLOB)) -> StoredClips:
        """Return what decoding needs of the index, with the places of the given streams only."""
        names = [field.name for field in fields(StoredClips)]
        return StoredClips(
            **{name: getattr(self, name) for name in names}
            | {"places": {stream: places for stream, places in self.places.items() if stream in streams}}
        )

    def take(self, rows: NDArray[np.int64]) -> "ClipIndex":
        """Return an index of the given rows, in their order; rows may repeat."""
        names = ("clip_ids", "file", "row_group", "label", "num_frames", "num_flow", "size")
        places = {stream: each.take(rows) for stream, each in self.places.items()}
        return replace(self, places=places, **{name: getattr(self, name)[rows] for name in names})

    def name(self, row: int) -> str:
        """Return the id of a clip."""
        return str(self.clip_ids[row])


def _places(shards: str, clips: pa.Table, blob: str) -> Places:
    sha256 = clips[f"{blob}_sha256"]
    sizes = pc.if_else(sha256.is_null(), -1, clips[f"{blob}_bytes"].fill_null(-1))
    return Places(
        offset=clips[f"{blob}_offset"].fill_null(-1).to_numpy(),
        size=sizes.cast(pa.int64()).to_numpy(),
        sha256=_digests(f"{shards}/{CLIPS}: {blob}_sha256", sha256),
    )


def _digests(what: str, column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return hexadecimal digests as (rows, 32) bytes, which are zero where there is none."""
    texts = column.fill_null("0" * 2 * _SHA256).cast(pa.large_string()).combine_chunks()
    try:
        if pc.any(pc.not_equal(pc.binary_length(texts), 2 * _SHA256)).as_py():
            raise ValueError("a digest is of another length")
        start = texts.offset * 2 * _SHA256
        raw = binascii.unhexlify(memoryview(texts.buffers()[2])[start : start + len(texts) * 2 * _SHA256])
    except ValueError:
        raise ShardError(f"{what} is no SHA-256 of every clip; copy it again, or ingest again") from None
    return np.frombuffer(raw, np.uint8).reshape(-1, _SHA256)
