"""What is said of the classes of the splits before a training."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.command_line import override
from pipeline.config import Config, ConfigError, EvaluationConfig, TrainingConfig
from pipeline.ingest.catalog import configured_catalog
from pipeline.training.splits import class_notes, unseen

CASES = Path(os.environ.get("CASES_DIR") or Path(__file__).parents[3] / "shared" / "cases")


def table(**splits):
    rows = [
        {
            "clip_id": f"{split}.{place}",
            "split": split,
            "label": label,
            "error_class": "BadRow" if label == "?" else None,
        }
        for split, labels in splits.items()
        for place, label in enumerate(labels)
    ]
    return pa.Table.from_pylist(rows)


def notes(**splits):
    evaluation = EvaluationConfig(split="test" if "test" in splits else "val")
    return class_notes(TrainingConfig(), evaluation, table(**splits))


def test_of_the_same_classes_in_all_splits_nothing_is_said():
    assert notes(train=["a", "b", "?"], val=["b", "a"], test=["a", "b"]) == []


def test_classes_of_one_split_alone_are_named_with_their_clips():
    assert notes(train=["a", "b", "b", "c", "c"], val=["a", "Pull-ups", "d"], test=["a", "b", "c"]) == [
        "2 of the 3 classes of 'val' are not in 'train', the network cannot learn them (2 clips): 'Pull-ups' and 'd'",
        "2 of the 3 classes of 'train' are not in 'val', nothing is measured of them (4 clips): 'b' and 'c'",
    ]


def test_classes_that_no_clip_of_a_split_shows_are_known_from_the_manifest():
    counts = {"a": {"expected": 2, "present": 1}, "b": {"expected": 2, "present": 0}}
    manifest = {"labels": ["a", "b", "c"], "splits": {"train": {"labels": counts}}}
    assert unseen(manifest, "train") == ["b", "c"]


def test_clips_without_a_label_are_refused_before_anything_is_ingested():
    with pytest.raises(
        ConfigError, match=r"^training\.train_split: 2 of 3 clips of 'train' have no label; give them.*is train\.1$"
    ):
        notes(train=["a", None, None], val=["a"])
    with pytest.raises(ConfigError, match=r"^training\.val_split: 1 of 1 clips of 'val' have no label"):
        notes(train=["a"], val=[None])
    with pytest.raises(ConfigError, match=r"^evaluation\.split: no clip of 'test' has a label"):
        notes(train=["a"], val=["a"], test=[None])
    assert notes(train=["a"], val=["a"], test=["a", None]) == []


def test_names_that_differ_in_spelling_alone_are_said():
    (said,) = notes(train=["arm wrestling", "Arm_Wrestling", "run"], val=["run", "arm wrestling", "Arm_Wrestling"])
    assert said == ("classes that differ in spelling alone count as different: 'Arm_Wrestling' and 'arm wrestling'")


def test_a_training_split_of_which_no_clip_can_be_used_is_refused():
    with pytest.raises(ConfigError, match=r"^training\.train_split: no clip of 'train' can be used"):
        notes(train=["?", "?"], val=["a"])


@pytest.fixture
def case(tmp_path):
    if not CASES.is_dir():
        pytest.skip(f"no {CASES}: set CASES_DIR to the folder of cases")

    def catalog(name, train, val, **fields):
        given = {"catalog.annotations.train": train, "catalog.annotations.val": val}
        config = override(Config(), {name: str(value) for name, value in fields.items()})
        config = override(config, {field: str(CASES / name / file) for field, file in given.items()})
        return config.training, config.evaluation, configured_catalog(config.resolved(tmp_path))

    return catalog


def test_lists_that_spell_the_same_actions_differently_are_said(case):
    first, second, third = class_notes(*case("val_classes_not_in_train", "train.csv", "val.csv"))
    assert "2 of the 4 classes of 'val'" in first  # decomposed accents and other spaces are no other class
    assert "'arm_wrestling'" in third
    assert "classes of 'val' are not in 'train', the network cannot learn them" in first
    assert "(near " in first
    assert "classes of 'train' are not in 'val', nothing is measured of them" in second


def test_a_list_of_which_half_has_no_label_is_refused(case):
    with pytest.raises(ConfigError, match=r"training\.train_split: \d+ of \d+ clips of 'train' have no label"):
        class_notes(*case("unlabelled_train", "train_half.csv", "val_half.csv"))
