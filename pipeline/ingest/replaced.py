"""Source files that were replaced after they were ingested, so that a finished set no longer is what its files are."""

import hashlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from pipeline.shards.manifest import CLIPS, MANIFEST
from pipeline.shards.schema import CLIPS_SCHEMA
from pipeline.shards.tables import read_table
from pipeline.storage import modified_s

CHANGED = "SourceChanged"
"""The error class by which `--retry` ingests such files again."""

_SHOWN = 3
_THREADS = 32  # a network disk answers them side by side


def replaced(shards: str) -> list[str]:
    """Return the ids of the good clips of a complete set whose local source file has another content now.

    A file has another content if its size is another; or if it was written after the manifest, and its digest is
    another. Files that are gone do not count, because a set needs its sources no longer.
    """
    finished_s = modified_s(f"{shards}/{MANIFEST}")
    columns = ["clip_id", "status", "source", "source_bytes", "source_sha256"]
    clips = read_table(f"{shards}/{CLIPS}", CLIPS_SCHEMA, columns).filter(pc.field("status") == "ok")
    files: defaultdict[tuple[str, int, str], list[str]] = defaultdict(list)
    for row in clips.to_pylist():
        if row["source"] and "://" not in row["source"] and row["source_sha256"]:
            files[row["source"], row["source_bytes"], row["source_sha256"]].append(row["clip_id"])
    with ThreadPoolExecutor(_THREADS) as threads:
        others = threads.map(partial(_other, finished_s), files)
        return sorted(name for names, other in zip(files.values(), others, strict=True) if other for name in names)


def note(names: list[str]) -> str:
    """Return the line that says that the files of these clips were replaced."""
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return (
        f"the files of {len(names)} clips were replaced after they were ingested: {shown}; the set holds what they "
        f"were; --retry {CHANGED} ingests them again"
    )


def _other(finished_s: float, file: tuple[str, int, str]) -> bool:
    source, size, sha256 = file
    try:
        facts = Path(source).stat()
        if facts.st_size != size:
            return True
        if facts.st_mtime <= finished_s:
            return False
        with open(source, "rb") as content:  # noqa: PTH123 - the path is the user's own
            return hashlib.file_digest(content, "sha256").hexdigest() != sha256
    except (OSError, ValueError):  # gone, or a member of an archive
        return False
