"""The classes of the splits beside each other, before anything is computed."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import ConfigError, EvaluationConfig, TrainingConfig
from pipeline.training.classes import some


def class_notes(training: TrainingConfig, evaluation: EvaluationConfig, clips: pa.Table) -> list[str]:
    """What there is to say of the classes of a training's splits: those that only some of them have.

    Args:
        training: names the splits of the training and of the validation.
        evaluation: names that of the test.
        clips: a row a clip with `split`, `label` and `error_class`: a catalog, or the table of a shard set.

    Returns:
        A sentence for each pair of splits that differ.

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
    """The classes of a shard set of which a split has no clip that could be read."""
    counts = manifest["splits"][split]["labels"]
    return [name for name in manifest["labels"] if not counts.get(name, {}).get("present")]


def _only(here: str, classes: Counter[str], there: str, others: Counter[str], meaning: str) -> list[str]:
    """A sentence on the classes of one split that the other has not, where there are any."""
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
    """Class to clips that can be read, as far as is known."""
    return Counter(label for label in _labels(clips, split) if label is not None)


def _unlabelled(clips: pa.Table, split: str) -> int:
    return _labels(clips, split).count(None)


def _labels(clips: pa.Table, split: str) -> list[str | None]:
    rows = clips.filter((pc.field("split") == split) & pc.field("error_class").is_null())
    return list(rows["label"].to_pylist())
