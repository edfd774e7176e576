"""Comparison of the places of a clip's streams in the table of clips with those in its shard."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.shards.row_groups import Offsets
from pipeline.shards.schema import BLOBS


def misplaced(listed: Mapping[str, Any], found: Offsets) -> Iterator[str]:
    """Yield each stream of a clip that a reader would not find by its place in the table of clips.

    Args:
        listed: the clip's row in the table; a place that is None, as in sets of formats 2 and 3, is not compared.
        found: where its streams are in the shard (`row_groups.offsets_in`), as far as this is known.
    """
    for stream in (field.name for field in BLOBS):
        stated, place = listed[f"{stream}_offset"], found.get(f"{stream}_offset")
        if stated is not None and place is not None and stated != place:
            yield f"{stream} is at byte {place} of its shard, not at byte {stated}"
