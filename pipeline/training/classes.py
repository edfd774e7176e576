"""Comparison of the classes of a network and of data by name, because numbers differ from one data set to another."""

from collections.abc import Sequence

from pipeline.shards.classes import some

__all__ = ["other_classes", "some"]


def other_classes(known: Sequence[str], wanted: Sequence[str]) -> str:
    """Say how the classes of a network differ from those of the data, as part of a sentence."""
    new = [name for name in wanted if name not in set(known)]
    gone = [name for name in known if name not in set(wanted)]
    if not new:
        return f"{some(gone)} of its {len(known)} classes {'is' if len(gone) == 1 else 'are'} not in the data"
    return f"it does not know {some(new, gone)} of the {len(wanted)} classes of the data"
