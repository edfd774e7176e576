"""Comparison of the classes of the splits, before anything is computed."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import ConfigError, EvaluationConfig, TrainingConfig
from pipeline.training.classes import some


def class_notes(training: TrainingConfig, evaluation: EvaluationConfig, clips: pa.Table) -> list[str]:
    """Describe the classes that only some of a training's splits have.

    Args:
        training: names the training split and the validation split.
        evaluation: names the test split.
        clips: a catalog or the table of a shard set: one row per clip, with `split`, `label` and `error_class`.

    Returns:
        One sentence for each pair of splits of which the first has classes that the second lacks.

    Raises:
        ConfigError: a training or validation clip has no label, or no test clip has one.
    """
    train, val, test = training.train_split, training.val_split, evaluation.split
    known = {split: _classes(clips, split) for split in (train, val, test)}
    for field, split in (("training.train_split", train), ("training.val_split", val)):
        if unlabelled := _unlabelled(clips, split):
            total = unlabelled + known[split].total()
            raise ConfigError(
                f"{field}: {unlabelled} of {total} clips of {split!r} have no label; give them one, or leave them out"
            )
    if not known[test]:
        raise ConfigError(f"evaluation.split: no clip of {test!r} has a label; there is nothing to test on")
    notes = []
    for other in dict.fromkeys((val, test)):
        notes += _only(other, known[other], train, known[train], "the network cannot learn them")
        notes += _only(train, known[train], other, known[other], "nothing is measured of them")
    return notes


def unseen(manifest: Mapping[str, Any], split: str) -> list[str]:
    """Return the classes of a shard set that have no readable clip in a split."""
    counts = manifest["splits"][split]["labels"]
    return [name for name in manifest["labels"] if not counts.get(name, {}).get("present")]


def _only(here: str, classes: Counter[str], there: str, others: Counter[str], meaning: str) -> list[str]:
    """Return a sentence on the classes of one split that the other lacks; an empty list if there are none."""
    only = {name: count for name, count in classes.items() if name not in others}
    if not only:
        return []
    beside = [name for name in others if name not in classes]
    clips = sum(only.values())
    return [
        f"{len(only)} of the {len(classes)} classes of {here!r} are not in {there!r}, {meaning} ({clips} "
        f"clip{'s' * (clips != 1)}): {some(list(only), beside)}"
    ]


def _classes(clips: pa.Table, split: str) -> Counter[str]:
    """Count the clips of each class, without those that are known to be unreadable."""
    return Counter(label for label in _labels(clips, split) if label is not None)


def _unlabelled(clips: pa.Table, split: str) -> int:
    return _labels(clips, split).count(None)


def _labels(clips: pa.Table, split: str) -> list[str | None]:
    rows = clips.filter((pc.field("split") == split) & pc.field("error_class").is_null())
    return list(rows["label"].to_pylist())
