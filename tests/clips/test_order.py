"""The order of clips: a pure function of seed and epoch, fair to every rank."""

import numpy as np
import pytest

from pipeline.clips.order import evaluation_batches, training_batches


def lists(batches):
    return [batch.tolist() for batch in batches]


def job(clips, batch_size, world, seed=0, epoch=0):
    """The batches of all ranks."""
    return [lists(training_batches(clips, batch_size, rank, world, seed, epoch)) for rank in range(world)]


# ---------------------------------------------------------------- training
@pytest.mark.parametrize("clips", [12, 13, 101, 240])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_ranks_have_equally_many_full_batches_and_no_clip_twice(clips, world, batch_size):
    ranks = job(clips, batch_size, world)
    assert {len(batches) for batches in ranks} == {clips // (batch_size * world)}
    assert {len(batch) for batches in ranks for batch in batches} == {batch_size}
    seen = [row for batches in ranks for batch in batches for row in batch]
    assert len(set(seen)) == len(seen) == clips - clips % (batch_size * world)
    assert set(seen) <= set(range(clips))


def test_the_clips_left_out_differ_from_epoch_to_epoch():
    left = []
    for epoch in range(6):
        seen = {row for batches in job(14, 4, 1, epoch=epoch) for batch in batches for row in batch}
        left.append(frozenset(range(14)) - seen)
    assert {len(each) for each in left} == {2}
    assert len(set(left)) > 3


def test_the_order_is_that_of_its_seed_and_epoch():
    assert job(101, 4, 2, seed=3, epoch=5) == job(101, 4, 2, seed=3, epoch=5)
    assert job(101, 4, 2, seed=3, epoch=5) != job(101, 4, 2, seed=3, epoch=6)
    assert job(101, 4, 2, seed=3, epoch=5) != job(101, 4, 2, seed=4, epoch=5)
    assert job(101, 4, 2, seed=3, epoch=5) != job(101, 4, 2, seed=5, epoch=3)


def test_the_numbers_of_numpys_global_generator_do_not_matter():
    np.random.seed(1)  # noqa: NPY002
    first = job(50, 4, 1)
    np.random.seed(2)  # noqa: NPY002
    assert job(50, 4, 1) == first


def test_a_step_sees_the_same_clips_however_many_ranks_share_them():
    one = job(96, 8, 1)[0]
    two = job(96, 4, 2)
    assert one == [first + second for first, second in zip(*two, strict=True)]


def test_clips_are_mixed():
    (batches,) = job(100, 10, 1)
    rows = np.concatenate(batches)
    assert np.abs(np.corrcoef(rows, np.arange(100))[0, 1]) < 0.4
    assert rows.tolist() != sorted(rows.tolist())


@pytest.mark.parametrize(("clips", "batch_size", "world"), [(1, 4, 2), (5, 4, 2), (7, 8, 1), (3, 1, 4)])
def test_a_split_smaller_than_a_batch_is_repeated_to_fill_it(clips, batch_size, world):
    ranks = job(clips, batch_size, world)
    assert {len(batches) for batches in ranks} == {1}
    rows = [row for batches in ranks for row in batches[0]]
    assert len(rows) == batch_size * world
    counts = np.bincount(rows, minlength=clips)
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1


# ---------------------------------------------------------------- evaluation
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 4, 16, 1000])
@pytest.mark.parametrize("kinds", [1, 3, 101])
def test_101_clips_are_each_in_exactly_one_batch_of_one_rank(world, batch_size, kinds):
    lengths = np.random.default_rng(0).integers(10, 10 + kinds, 101)
    batches = [batch for rank in range(world) for batch in evaluation_batches(lengths, batch_size, rank, world)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(101))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert all(len(set(lengths[batch])) == 1 for batch in batches)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_have_equally_much_to_do(world):
    lengths = np.random.default_rng(0).integers(10, 200, 101)
    work = [
        sum(int(lengths[batch].sum()) for batch in evaluation_batches(lengths, 4, rank, world)) for rank in range(world)
    ]
    assert max(work) < 1.1 * min(work)


def test_more_ranks_than_clips_leave_some_with_nothing():
    lengths = np.array([5, 5])
    assert [len(evaluation_batches(lengths, 4, rank, 4)) for rank in range(4)] == [1, 1, 0, 0]


def test_clips_of_one_length_fill_their_batches():
    assert [len(batch) for batch in evaluation_batches(np.full(10, 64), 4, 0, 1)] == [4, 4, 2]


def test_an_empty_split_has_no_batches():
    assert evaluation_batches(np.array([], np.int64), 4, 0, 2) == []
