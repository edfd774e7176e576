"""Counts of what was unusual about the sources of clips, from the column `source_notes`."""

import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

_DETAIL = re.compile(r"^\d+ | \([^)]*\)$")


def count_source_notes(notes: pa.ChunkedArray) -> Counter[str]:
    """Count the clips that have a note of each kind.

    Args:
        notes: the notes of each clip, comma-separated. `3 damaged frames` and `5 damaged frames` are of one kind, as
            are `ends before the clip (13 of 162 frames)` and the same words with other numbers.
    """
    counts: Counter[str] = Counter()
    for text, clips in (item.values() for item in pc.value_counts(notes.drop_null()).to_pylist()):
        counts.update(dict.fromkeys((_DETAIL.sub("", note) for note in text.split(", ") if note), clips))
    return counts
