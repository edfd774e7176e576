"""The clips of one split as arrays: what a loader needs to find, sample and label any of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.streams import BLOB
from pipeline.shards import ShardError, read_clip, read_clips, read_manifest


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

    @classmethod
    def load(cls, shards: str, split: str) -> "ClipIndex":
        """Read the index of a split.

        Raises:
            ShardError: the set is not complete, has no such split, or has no readable clip in the split.
        """
        manifest, clips = read_manifest(shards), read_clips(shards, split)
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
        return content
