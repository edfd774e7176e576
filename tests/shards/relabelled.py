"""A shard set once more, with the same clips under other names or numbers of their classes."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.shards import read_catalog, read_manifest
from pipeline.shards.manifest import summarise, write_manifest


def relabelled(shards: str, folder: Path, labels: Sequence[str], names: Mapping[str, str] | None = None) -> str:
    """Copy a set.

    Args:
        shards: the set.
        folder: of the copy.
        labels: classes of the copy in their order; clips of others are left out.
        names: old name to new, where it changes.

    Returns:
        The folder of the copy.
    """
    shutil.copytree(shards, folder)
    numbers, rows = {label: number for number, label in enumerate(labels)}, []
    for row in read_catalog(shards).to_pylist():
        label = (names or {}).get(row["label"], row["label"])
        if label in numbers:
            rows.append({**row, "label": label, "label_id": numbers[label]})
    clips = pa.Table.from_pylist(rows, schema=read_catalog(shards).schema)
    write_manifest(str(folder), clips, summarise(clips, read_manifest(shards)["plan"]))
    return str(folder)
