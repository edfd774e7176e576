"""Files on a local disk or an object store; writes are atomic."""

import json
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

_TEMPORARY = re.compile(r"_.+\.[0-9a-f]{32}\.tmp")


def open_store(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a path or URI, and the path within it."""
    return pafs.FileSystem.from_uri(uri) if "://" in uri else (pafs.LocalFileSystem(), uri)


def exists(uri: str) -> bool:
    """Return whether a file or folder exists."""
    store, path = open_store(uri)
    return store.get_file_info(path).type != pafs.FileType.NotFound


def list_files(uri: str) -> list[str]:
    """Return the names of the files directly in a folder; the list is empty if there is no such folder."""
    store, path = open_store(uri)
    infos = store.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.type == pafs.FileType.File)


def list_entries(uri: str) -> list[str]:
    """Return the names of the files and folders directly in a folder."""
    store, path = open_store(uri)
    return sorted(info.base_name for info in store.get_file_info(pafs.FileSelector(path)))


def make_folder(uri: str) -> None:
    """Create a folder and its parents."""
    store, path = open_store(uri)
    store.create_dir(path, recursive=True)


def touch(uri: str) -> None:
    """Write an empty file."""
    store, path = open_store(uri)
    store.open_output_stream(path).close()


def remove(uri: str) -> None:
    """Delete a file, or a folder with everything in it, if it exists."""
    store, path = open_store(uri)
    kind = store.get_file_info(path).type
    if kind == pafs.FileType.Directory:
        store.delete_dir(path)
    elif kind == pafs.FileType.File:
        store.delete_file(path)


def write_atomically(uri: str, write: Callable[[pa.NativeFile], Any]) -> None:
    """Call `write` with an open file that appears under its name only when it is complete.

    On a local disk, a temporary file is flushed and renamed. An object store shows an object only after it is closed.
    """
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
    """Remove the temporary files that killed processes have left in a folder; no process may be writing there now."""
    for name in list_files(uri):
        if _TEMPORARY.fullmatch(name):
            remove(f"{uri}/{name}")


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file atomically."""
    write_atomically(uri, lambda file: file.write(json.dumps(value, indent=2).encode()))


def read_json(uri: str) -> Any:
    """Read a JSON file."""
    store, path = open_store(uri)
    with store.open_input_stream(path) as file:
        return json.loads(file.readall())
