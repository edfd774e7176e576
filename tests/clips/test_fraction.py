"""A fraction of the training clips: the same of each class, and the same clips everywhere."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from pipeline.clips.fraction import chosen, fraction_of
from pipeline.clips.index import ClipIndex
from tests.shards.sets import make_set

LABEL = np.repeat([0, 1, 2], [10, 4, 1])
NAMES = np.array([f"clip-{number:02d}" for number in range(15)])


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.5, {0: 5, 1: 2, 2: 1}), (0.25, {0: 3, 1: 1, 2: 1}), (0.01, {0: 1, 1: 1, 2: 1})]
)
def test_every_class_keeps_its_share_and_at_least_one_clip(fraction, counts):
    rows = chosen(NAMES, LABEL, fraction, seed=0)
    assert Counter(LABEL[rows].tolist()) == counts
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_the_choice_is_that_of_the_seed_and_the_names():
    rows = chosen(NAMES, LABEL, 0.5, seed=0)
    back = np.arange(15)[::-1]
    assert set(NAMES[rows]) == set(NAMES[back][chosen(NAMES[back], LABEL[back], 0.5, seed=0)])
    hashed = sorted(NAMES[:10], key=lambda name: hashlib.sha256(f"0 {name}".encode()).digest())
    assert set(NAMES[rows][:5]) == set(hashed[:5])
    assert len({tuple(chosen(NAMES, LABEL, 0.5, seed)) for seed in range(5)}) > 1


def test_a_smaller_fraction_is_part_of_a_larger_one():
    assert set(chosen(NAMES, LABEL, 0.25, seed=3)) < set(chosen(NAMES, LABEL, 0.5, seed=3))


def test_the_index_leads_to_the_same_bytes(tmp_path):
    index = ClipIndex.load(make_set(tmp_path).path, "train")
    assert fraction_of(index, 1.0, seed=0) is index
    part = fraction_of(index, 0.5, seed=0)  # of two classes of one clip each
    assert part.clip_ids.tolist() == index.clip_ids.tolist()
    one = fraction_of(ClipIndex(**{**vars(index), "label": np.zeros(2, np.int64)}), 0.5, seed=0)
    (row,) = np.flatnonzero(index.clip_ids == one.clip_ids[0])
    assert len(one) == 1
    assert one.stored().blob(0, "rgb") == index.stored().blob(row, "rgb")
    assert (one.labels, one.digest) == (index.labels, index.digest)
