"""Splits of a shard set whose clips are divided several times, as by the three splits of UCF-101, or by folds.

Each division has the same clips in training, test and perhaps validation. The set stores a clip once, under a name
that lists the sides on which it is: `train1_train2_test3` is a part of the splits train1, train2 and test3. All other
sets have a part for each split, with the name of the split.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SIDE = r"(?:train|val|test)[0-9]"
_SIDES = re.compile(rf"{_SIDE}(?:_{_SIDE})*")


def splits_in(part: str) -> list[str]:
    """Return the splits that have the clips of a part of a set, which the column `split` names."""
    return part.split("_") if _SIDES.fullmatch(part) else [part]


def splits_of(parts: Iterable[str]) -> list[str]:
    """Return all splits of a set, sorted; `parts` are the values of its column `split`."""
    return sorted({split for part in parts for split in splits_in(part)})


def numbers_of(splits: Iterable[str]) -> list[int]:
    """Return the numbers of the divisions of a set, such as 1, 2, 3, sorted; none if its clips are divided once."""
    return sorted({int(split[-1]) for split in splits if re.fullmatch(_SIDE, split)})


def parts_of(split: str, parts: Iterable[str]) -> list[str]:
    """Return those of the parts of a set whose clips are in a split; none if the set has no such split."""
    return [part for part in parts if split in splits_in(part)]


def in_split(column: pa.ChunkedArray, split: str) -> pa.ChunkedArray:
    """Return for each row whether its clip is in a split; `column` names the part of each row."""
    return pc.is_in(column, pa.array(parts_of(split, column.unique().to_pylist()), pa.string()))


def divided(parts: Collection[str]) -> bool:
    """Return whether one video in all these parts is a leak: it is on both sides of a split, or in two splits."""
    if not all(_SIDES.fullmatch(part) for part in parts):
        return len(parts) > 1
    sides = {split for part in parts for split in splits_in(part)}
    return len({split[-1] for split in sides}) < len(sides)


def clips_in(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of readable clips of each split of a set."""
    return {split: counts_of(manifest, split)["present"] for split in splits_of(manifest["splits"])}


def counts_of(manifest: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return what a manifest counts of a split, summed over its parts.

    Returns:
        `expected`, `present` and `frames` of the split, `failed` by class of error, and `expected` and `present` of
        each class under `labels`.

    Raises:
        KeyError: the set has no such split.
    """
    parts = [manifest["splits"][part] for part in parts_of(split, manifest["splits"])]
    if not parts:
        raise KeyError(split)
    if len(parts) == 1:
        return dict(parts[0])
    labels = sorted({name for part in parts for name in part["labels"]})
    none = {"expected": 0, "present": 0}
    return {
        **{name: sum(part[name] for part in parts) for name in ("expected", "present", "frames")},
        "failed": dict(sum((Counter(part["failed"]) for part in parts), Counter())),
        "labels": {
            label: {name: sum(part["labels"].get(label, none)[name] for part in parts) for name in none}
            for label in labels
        },
    }
