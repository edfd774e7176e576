"""The clips of one split as arrays: what a loader needs to find, sample and label any of them.

What is trained on is what the data digest names: `load` compares the table of clips with the manifest, and `blob`
compares the bytes of each stream with their SHA-256 in that table.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.clips.streams import BLOB
from pipeline.shards import ShardError, read_clip, read_verified

_SHA256 = 64  # hexadecimal digits


@dataclass(frozen=True)
class ClipIndex:
    """The clips of one split of a complete shard set, in the order of their ids."""

    shards: str
    split: str
    digest: str
    labels: tuple[str, ...]
    files: tuple[str, ...]
    clip_ids: NDArray[np.str_]
    file: NDArray[np.int32]  # position in `files`
    row_group: NDArray[np.int32]
    label: NDArray[np.int64]  # -1 where unlabelled
    num_frames: NDArray[np.int64]
    num_flow: NDArray[np.int64]
    size: NDArray[np.int32]  # (clips, 2): height, width
    sha256: dict[str, NDArray[np.bytes_]] = field(default_factory=dict)  # of each stream's bytes; none: not compared

    @classmethod
    def load(cls, shards: str, split: str) -> "ClipIndex":
        """Read the index of a split.

        Raises:
            ShardError: the set is not complete, its table of clips is not the one of its manifest, or it has no such
                split or no readable clip in the split.
        """
        manifest, clips = read_verified(shards)
        if split not in manifest["splits"]:
            raise ShardError(f"{shards}: no split {split!r}; it has {', '.join(manifest['splits'])}")
        clips = clips.filter((pc.field("status") == "ok") & (pc.field("split") == split)).sort_by("clip_id")
        if not len(clips):
            raise ShardError(f"{shards}: no clip of split {split!r} could be read; see _clips.parquet for the reasons")
        files, file = np.unique(clips["shard"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
        return cls(
            shards=shards,
            split=split,
            digest=manifest["digest"],
            labels=tuple(manifest["labels"]),
            files=tuple(files.tolist()),
            clip_ids=clips["clip_id"].to_numpy(zero_copy_only=False).astype(str),
            file=file.astype(np.int32),
            row_group=clips["row_group"].to_numpy().astype(np.int32),
            label=clips["label_id"].fill_null(-1).to_numpy().astype(np.int64),
            num_frames=clips["num_frames"].to_numpy().astype(np.int64),
            num_flow=clips["num_flow"].fill_null(0).to_numpy().astype(np.int64),
            size=np.stack([clips["height"].to_numpy(), clips["width"].to_numpy()], axis=1).astype(np.int32),
            sha256={stream: _digests(clips[f"{blob}_sha256"]) for stream, blob in BLOB.items()},
        )

    def __len__(self) -> int:
        return len(self.clip_ids)

    def length(self, stream: str) -> NDArray[np.int64]:
        """Return the number of frames (rgb) or flow fields (flow) of every clip, (clips,)."""
        return self.num_frames if stream == "rgb" else self.num_flow

    def blob(self, row: int, stream: str) -> bytes:
        """Read the encoded video or flow of one row."""
        column = BLOB[stream]
        content = read_clip(f"{self.shards}/{self.files[self.file[row]]}", int(self.row_group[row]), [column])[column]
        if not isinstance(content, bytes):
            raise ShardError(f"{self.clip_ids[row]}: no {stream} was stored; ingest with --ingest.streams rgb,flow")
        known = self.sha256.get(stream)
        if known is not None and hashlib.sha256(content).hexdigest().encode() != known[row]:
            where = f"{self.shards}/{self.files[self.file[row]]}"
            raise ShardError(
                f"{where}: the {stream} there is not that of {self.clip_ids[row]}; the command inspect names all faults"
            )
        return content


def _digests(column: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Return hexadecimal digests as an array of bytes, empty where there is none."""
    return column.fill_null("").to_numpy(zero_copy_only=False).astype(f"S{_SHA256}")
