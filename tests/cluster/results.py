"""What jobs have left."""

import hashlib
import json
from pathlib import Path


def shards_of(folder: Path) -> dict[str, str]:
    """The digest of a complete shard set, and that of each file."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("[!_]*.parquet"))}
    assert found, list(folder.iterdir())
    return {**found, "digest": json.loads((folder / "_manifest.json").read_text())["digest"]}
