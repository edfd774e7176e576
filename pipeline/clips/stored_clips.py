"""Where the streams of clips are, and the reading of exactly their bytes; it is all that decoding needs of an index.

On a disk, files stay open, so that a stream costs one system call. From an object store a stream costs one request. Its
bytes are compared with their SHA-256 before they are used, so places that a stranger has made up lead to nothing worse
than an error.
"""

import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.clips.streams import BLOB
from pipeline.clips.turns import waiting
from pipeline.shards import ShardError, read_clip
from pipeline.shards.manifest import CLIPS, read_list
from pipeline.storage import local_path, read_bytes

_OPEN = 256  # files that a process keeps open


class Places(NamedTuple):
    """The places of one stream of each clip.

    Attributes:
        offset: (clips,) int64, the first byte in the file; -1 if it is not known, as in sets of formats 2 and 3.
        size: (clips,) int64, number of bytes; -1 if the clip has no such stream.
        sha256: (clips, 32) uint8, SHA-256 of the bytes.
    """

    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    sha256: NDArray[np.uint8]

    def take(self, rows: NDArray[np.int64]) -> "Places":
        """Return the places of some clips."""
        return Places(self.offset[rows], self.size[rows], self.sha256[rows])


@dataclass(frozen=True, kw_only=True)
class StoredClips:
    """The clips of one split of a shard set as arrays.

    Attributes:
        shards: folder or URI of the set.
        files: names of the shards.
        file: (clips,) int32, position in `files`.
        row_group: (clips,) int32, row group in the file.
        num_frames: (clips,) int32.
        num_flow: (clips,) int32, 0 without flow.
        size: (clips, 2) int32, height and width.
        places: the places of each stream; a stream that is not among them is found by the footer of its file, and its
            bytes are not compared.
    """

    shards: str
    files: tuple[str, ...]
    file: NDArray[np.int32]
    row_group: NDArray[np.int32]
    num_frames: NDArray[np.int32]
    num_flow: NDArray[np.int32]
    size: NDArray[np.int32]
    places: dict[str, Places] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.file)

    def length(self, stream: str) -> NDArray[np.int32]:
        """Return the number of frames (rgb) or flow fields (flow) of every clip, (clips,)."""
        return self.num_frames if stream == "rgb" else self.num_flow

    @property
    def remote(self) -> bool:
        """Whether the clips are in an object store, so that requests should overlap decoding."""
        return local_path(self.shards) is None

    def name(self, row: int) -> str:
        """Return the id of a clip for a message; the table of clips is read for it."""
        clips = read_list(f"{self.shards}/{CLIPS}", ("clip_id", "shard", "row_group"))
        here = (pc.field("shard") == self.files[self.file[row]]) & (pc.field("row_group") == int(self.row_group[row]))
        return str(next(iter(clips.filter(here)["clip_id"].to_pylist()), f"row {row}"))

    def blob(self, row: int, stream: str) -> bytes:
        """Read the encoded video or flow of one row.

        Raises:
            ShardError: the clip has no such stream, it cannot be read, or its bytes are not those of the clip.
        """
        places, uri = self.places.get(stream), f"{self.shards}/{self.files[self.file[row]]}"
        if places is None or places.offset[row] < 0 <= places.size[row]:
            content = read_clip(uri, int(self.row_group[row]), [BLOB[stream]])[BLOB[stream]]
        elif places.size[row] < 0:
            content = None
        else:
            content = _read(uri, int(places.offset[row]), int(places.size[row]))
            if not _is(content, places, row) and not self.remote:
                _kept.cache_clear()  # perhaps the file was replaced since it was opened
                content = _read(uri, int(places.offset[row]), int(places.size[row]))
        if not isinstance(content, bytes):
            raise ShardError(f"{self.name(row)}: no {stream} was stored; ingest with --ingest.streams rgb,flow")
        if places is not None and not _is(content, places, row):
            raise ShardError(
                f"{uri}: the {stream} there is not that of {self.name(row)}; the command inspect names all faults"
            )
        return content


def _is(content: bytes, places: Places, row: int) -> bool:
    return hashlib.sha256(content).digest() == places.sha256[row].tobytes()


def _read(uri: str, offset: int, size: int) -> bytes:
    try:
        if (path := local_path(uri)) is not None:
            return _kept(str(path), os.getpid()).read(offset, size)
        with waiting():
            return read_bytes(uri, offset, size)
    except (OSError, ValueError) as error:
        raise ShardError(f"{uri}: does not read ({error}); copy it again, or ingest again") from error


class _Kept:
    """An open file; it is closed when nobody uses it any more."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._file).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at a place, fewer if the file ends before."""
        return os.pread(self._file, max(0, min(size, self._size - offset)), offset)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


@lru_cache(maxsize=_OPEN)
def _kept(path: str, process: int) -> _Kept:  # noqa: ARG001 - each process opens its own
    return _Kept(path)
