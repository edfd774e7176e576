"""Clips that are in several published splits: they are stored once, and each split has its own."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.shards.splits import clips_in, counts_of, divided, in_split, numbers_of, parts_of, splits_in, splits_of

PARTS = ["test1_train2_train3", "train1_test2_train3", "train1_train2_test3", "train1_train2_train3"]


def test_a_part_of_three_splits_is_in_each_of_them():
    assert splits_in("test1_train2_train3") == ["test1", "train2", "train3"]
    assert splits_of(PARTS) == ["test1", "test2", "test3", "train1", "train2", "train3"]
    assert parts_of("test2", PARTS) == ["train1_test2_train3"]
    assert parts_of("train2", PARTS) == [PARTS[0], PARTS[2], PARTS[3]]


def test_folds_have_three_sides_and_their_numbers():
    parts = ["test0_train1_val2", "train0_test1_train2"]
    assert splits_of(parts) == ["test0", "test1", "train0", "train1", "train2", "val2"]
    assert numbers_of(splits_of(parts)) == [0, 1, 2]
    assert numbers_of(["train", "val", "train1_val"]) == []


@pytest.mark.parametrize("name", ["train", "val", "hidden_test", "train_1", "my_train1", "train1_extra", "train1_"])
def test_any_other_split_is_one_part(name):
    assert splits_in(name) == [name]
    assert parts_of("train", [name]) == ([name] if name == "train" else [])


def test_rows_and_counts_of_a_split_are_those_of_its_parts():
    column = pa.chunked_array([["train1_train2", "test1_train2"], ["train1"]])
    assert in_split(column, "train1").to_pylist() == [True, False, True]
    assert in_split(column, "train2").to_pylist() == [True, True, False]
    assert not pc.any(in_split(column, "train")).as_py()
    parts = {
        "train1_train2": part(expected=5, present=4, frames=40, failed={"Gone": 1}, labels={"run": (5, 4)}),
        "test1_train2": part(expected=2, present=2, frames=9, failed={}, labels={"run": (1, 1), "sit": (1, 1)}),
        "train1": part(expected=1, present=0, frames=0, failed={"Gone": 1}, labels={"sit": (1, 0)}),
    }
    assert counts_of({"splits": parts}, "train1") == part(
        expected=6, present=4, frames=40, failed={"Gone": 2}, labels={"run": (5, 4), "sit": (1, 0)}
    )
    assert counts_of({"splits": parts}, "test1") == parts["test1_train2"]
    assert clips_in({"splits": parts}) == {"train1": 4, "train2": 6, "test1": 2}
    with pytest.raises(KeyError, match="train"):
        counts_of({"splits": parts}, "train")


def part(expected: int, present: int, frames: int, failed: dict, labels: dict) -> dict:
    counts = {name: dict(zip(("expected", "present"), pair, strict=True)) for name, pair in labels.items()}
    return {"expected": expected, "present": present, "frames": frames, "failed": failed, "labels": counts}


@pytest.mark.parametrize(
    ("parts", "leak"),
    [
        (["train"], False),
        (["train", "test"], True),
        (["train1_train2_test3", "train1_train2_test3"], False),
        (["train1_train2_test3", "train1_train2_train3"], True),  # the third split has it on both sides
        (["train1_test3", "train1_train2"], False),  # the second split does not have one of them, the third the other
        (["train1", "test2"], False),
        (["train1", "test1"], True),
        (["train1", "val"], True),
        (["test0_train1_val2", "train0_test1_val2"], True),
    ],
)
def test_the_same_pictures_are_a_leak_only_if_a_split_divides_them(parts, leak):
    assert divided(set(parts)) is leak
