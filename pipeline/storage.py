"""Files on a local disk or an object store; writes are atomic."""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

if TYPE_CHECKING:
    from pipeline.object_store import ObjectPath

_TEMPORARY = re.compile(r"_.+\.[0-9a-f]{32}\.tmp")


class Entry(NamedTuple):
    """A file below a folder."""

    name: str
    """Its path relative to the folder."""
    size: int
    """Its bytes."""


def open_store(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return pyarrow's file system of a path or URI, and the path within it."""
    if "://" not in uri:
        return pafs.LocalFileSystem(), uri
    place, slash, path = uri.partition("://")[2].partition("/")
    path = quote(path, safe="!#$%&'()*+,/:;=?@~")  # Arrow refuses spaces and the like
    return pafs.FileSystem.from_uri(f"{uri.partition('://')[0]}://{place}{slash}{path}")


def local_path(uri: str) -> Path | None:
    """Return the path on a local disk, or None if the address is one of a store."""
    if "://" in uri and not uri.lower().startswith("file://"):
        return None
    return Path(open_store(uri)[1])


def object_path(uri: str) -> "ObjectPath | None":
    """Return the object that an address names; None for files, and for stores that are left to pyarrow."""
    if local_path(uri):
        return None
    from pipeline import object_store  # which needs obstore; a model that is served has no use for it

    return object_store.object_path(uri)


def exists(uri: str) -> bool:
    """Return whether a file or folder exists; on an object store, a folder is there if something is in it."""
    if remote := object_path(uri):
        return remote.exists()
    store, path = open_store(uri)
    return bool(store.get_file_info(path).type != pafs.FileType.NotFound)


def modified_s(uri: str) -> float:
    """Return when a file was written, in seconds since 1970.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if remote := object_path(uri):
        return remote.head()["last_modified"].timestamp()
    store, path = open_store(uri)
    if (info := store.get_file_info(path)).mtime_ns is None:
        raise FileNotFoundError(f"{uri}: there is no such file")
    return float(info.mtime_ns / 1e9)


def list_files(uri: str) -> list[str]:
    """Return the names of the files directly in a folder; the list is empty if there is no such folder."""
    if remote := object_path(uri):
        return remote.directly()[0]
    store, path = open_store(uri)
    infos = store.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.type == pafs.FileType.File)


def list_entries(uri: str) -> list[str]:
    """Return the names of the files and folders directly in a folder.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if remote := object_path(uri):
        if not (found := sorted({name for names in remote.directly() for name in names})):
            raise FileNotFoundError(f"{uri}: nothing is there")
        return found
    store, path = open_store(uri)
    return sorted(info.base_name for info in store.get_file_info(pafs.FileSelector(path)))


def list_below(uri: str) -> list[Entry]:
    """Return the files in a folder and in all folders below it, sorted by name; none if there is no such folder.

    An object store is asked once per 1,000 files.
    """
    if remote := object_path(uri):
        return sorted(Entry(*found) for found in remote.below())
    store, path = open_store(uri)
    infos = store.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
    start = len(path.rstrip("/")) + 1
    return sorted(Entry(info.path[start:], info.size) for info in infos if info.type == pafs.FileType.File)


def make_folder(uri: str) -> None:
    """Create a folder and its parents; an object store has no folders, so nothing happens there."""
    if object_path(uri):
        return
    store, path = open_store(uri)
    store.create_dir(path, recursive=True)


def touch(uri: str) -> None:
    """Write an empty file."""
    if remote := object_path(uri):
        remote.write(b"")
        return
    store, path = open_store(uri)
    store.open_output_stream(path).close()


def remove(uri: str) -> None:
    """Delete a file, or a folder with everything in it, if it exists; `remove_many` needs fewer requests for files."""
    if remote := object_path(uri):
        remote.remove([remote, *(remote.child(name) for name, _ in remote.below())])
        return
    store, path = open_store(uri)
    kind = store.get_file_info(path).type
    if kind == pafs.FileType.Directory:
        store.delete_dir(path)
    elif kind == pafs.FileType.File:
        store.delete_file(path)


def remove_many(uris: Collection[str]) -> None:
    """Delete files; those that are not there are no error. An object store is asked once per 1,000 files."""
    remote: list[ObjectPath] = []
    for uri in uris:
        if found := object_path(uri):
            remote.append(found)
            continue
        store, path = open_store(uri)
        with contextlib.suppress(FileNotFoundError):
            store.delete_file(path)
    if remote:
        remote[0].remove(remote)


def read_bytes(uri: str, start: int = 0, length: int | None = None) -> bytes:
    """Read a file or a part of it; a store is asked exactly once.

    Args:
        uri: path or URI of the file.
        start: the first byte.
        length: the number of bytes; None for all up to the end. There are fewer if the file ends before.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
    """
    if remote := object_path(uri):
        return remote.read(start, length)
    store, path = open_store(uri)
    with store.open_input_file(path) as file:
        size = file.size()
        start = min(start, size)
        return bytes(file.read_at(size - start if length is None else min(length, size - start), start))


def write_bytes(uri: str, content: bytes) -> None:
    """Write a file atomically; a store is asked once if the file is not larger than `object_store.PART`."""
    if remote := object_path(uri):
        remote.write(content)
        return
    write_atomically(uri, lambda file: file.write(content))


def write_atomically(uri: str, write: Callable[[Any], Any]) -> None:
    """Call `write` with an open binary file that appears under its name only when it is complete.

    On a local disk, a temporary file is flushed and renamed. An object store shows an object only after it is whole;
    if `write` raises, nothing of it stays.
    """
    if remote := object_path(uri):
        remote.write_with(write)
        return
    store, path = open_store(uri)
    if not isinstance(store, pafs.LocalFileSystem):
        with store.open_output_stream(path) as file:
            write(file)
        return
    final = Path(path)
    temporary = final.with_name(f"_{final.name}.{uuid.uuid4().hex}.tmp")  # known to `remove_unfinished`
    try:
        with pa.OSFile(str(temporary), "w") as file:  # a file of Python would copy what is written
            write(file)
        with temporary.open("rb") as raw:
            os.fsync(raw.fileno())
        temporary.replace(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(uri: str) -> None:
    """Remove the temporary files that killed processes have left in a folder; no process may be writing there now.

    An object store has none: it drops the parts of an object that was not finished after the days that its rules say.
    """
    if object_path(uri) is None:
        remove_many([f"{uri}/{name}" for name in list_files(uri) if _TEMPORARY.fullmatch(name)])


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file atomically."""
    write_bytes(uri, json.dumps(value, indent=2).encode())


def read_json(uri: str) -> Any:
    """Read a JSON file."""
    return json.loads(read_bytes(uri))
