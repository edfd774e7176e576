"""Comparison of the classes of the splits, before anything is computed."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.config import ConfigError, EvaluationConfig, TrainingConfig
from pipeline.shards.classes import alike, classes_of, only_in, unlabelled
from pipeline.shards.splits import counts_of


def class_notes(training: TrainingConfig, evaluation: EvaluationConfig, clips: pa.Table) -> list[str]:
    """Describe the classes that only some of a training's splits have.

    Args:
        training: names the training split and the validation split.
        evaluation: names the test split.
        clips: a catalog or the table of a shard set: one row per clip, with `split`, `label` and `error_class`.

    Returns:
        One sentence for each pair of splits of which the first has classes that the second lacks, and one on classes
        whose names differ in spelling alone.

    Raises:
        ConfigError: a training or validation clip has no label, no test clip has one, or no training clip is left.
    """
    train, val, test = training.train_split, training.val_split, evaluation.split
    known = {split: classes_of(clips, split) for split in (train, val, test)}
    for field, split in (("training.train_split", train), ("training.val_split", val)):
        if without := unlabelled(clips, split):
            total = len(without) + known[split].total()
            raise ConfigError(
                f"{field}: {len(without)} of {total} clips of {split!r} have no label; give them one, or leave them "
                f"out, in the list of the clips; the first is {without[0]}"
            )
    if not known[train]:
        raise ConfigError(f"training.train_split: no clip of {train!r} can be used; there is nothing to learn from")
    if not known[test]:
        raise ConfigError(f"evaluation.split: no clip of {test!r} has a label; there is nothing to test on")
    notes = []
    for other in dict.fromkeys((val, test)):
        notes += only_in(other, known[other], train, known[train], "the network cannot learn them")
        notes += only_in(train, known[train], other, known[other], "nothing is measured of them")
    return [*notes, *alike(sorted(set().union(*known.values())))]


def unseen(manifest: Mapping[str, Any], split: str) -> list[str]:
    """Return the classes of a shard set that have no readable clip in a split."""
    counts = counts_of(manifest, split)["labels"]
    return [name for name in manifest["labels"] if not counts.get(name, {}).get("present")]
