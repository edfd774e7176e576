"""Files on a local disk or an object store: written whole or not at all."""

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs


def open_store(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI, and the path within it."""
    return pafs.FileSystem.from_uri(uri) if "://" in uri else (pafs.LocalFileSystem(), uri)


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    store, path = open_store(uri)
    return store.get_file_info(path).type != pafs.FileType.NotFound


def list_files(uri: str) -> list[str]:
    """Names of the files directly in a folder; empty where there is no such folder."""
    store, path = open_store(uri)
    infos = store.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.type == pafs.FileType.File)


def list_entries(uri: str) -> list[str]:
    """Names of the files and folders directly in a folder."""
    store, path = open_store(uri)
    return sorted(info.base_name for info in store.get_file_info(pafs.FileSelector(path)))


def make_folder(uri: str) -> None:
    """Create a folder and those above it."""
    store, path = open_store(uri)
    store.create_dir(path, recursive=True)


def remove(uri: str) -> None:
    """Delete a file, or a folder with all that is in it; nothing happens where there is none."""
    store, path = open_store(uri)
    kind = store.get_file_info(path).type
    if kind == pafs.FileType.Directory:
        store.delete_dir(path)
    elif kind == pafs.FileType.File:
        store.delete_file(path)


def write_atomically(uri: str, write: Callable[[pa.NativeFile], Any]) -> None:
    """Call `write` with a file that appears under its name only when it is complete.

    On a local disk a temporary file is flushed and renamed; an object store shows an object only once it is closed.
    """
    store, path = open_store(uri)
    if not isinstance(store, pafs.LocalFileSystem):
        with store.open_output_stream(path) as file:
            write(file)
        return
    final = Path(path)
    temporary = final.with_name(f"_{final.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as raw, pa.PythonFile(raw, "w") as file:
            write(file)
            file.flush()
            os.fsync(raw.fileno())
        temporary.replace(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomically(uri, lambda file: file.write(json.dumps(value, indent=2).encode()))


def read_json(uri: str) -> Any:
    """Read a JSON file."""
    store, path = open_store(uri)
    with store.open_input_stream(path) as file:
        return json.loads(file.readall())
