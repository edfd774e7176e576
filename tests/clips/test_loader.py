"""From Arrow tables, as Ray Data hands them over, to batches of tensors. The loader on a cluster: tests/training."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from ray.data.extensions import ArrowTensorArray

from pipeline.clips.loader import Batch, CollateClips


def windows(clips=3, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (clips, 4, 6, 5, channels), dtype=np.uint8)


def table(make, **streams):
    clips = len(next(iter(streams.values())))
    return pa.table(
        {
            "rows": np.arange(clips, dtype=np.int64) + 10,
            "labels": np.array([2, -1, 0, 1, 5][:clips], np.int64),
            **{name: make(array) for name, array in streams.items()},
        }
    )


MAKES = {"ray": ArrowTensorArray.from_numpy, "pyarrow": pa.FixedShapeTensorArray.from_numpy_ndarray}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_a_table_becomes_a_batch(make):
    rgb, flow = windows(), windows(channels=2, seed=1)
    batch = CollateClips()(table(make, rgb=rgb, flow=flow))
    assert isinstance(batch, Batch)
    assert len(batch) == 3
    assert set(batch.windows) == {"rgb", "flow"}
    assert torch.equal(batch.windows["rgb"], torch.from_numpy(rgb))
    assert torch.equal(batch.windows["flow"], torch.from_numpy(flow))
    assert batch.rows.tolist() == [10, 11, 12]
    assert batch.labels.tolist() == [2, -1, 0]
    assert batch.windows["rgb"].dtype == torch.uint8
    assert batch.labels.dtype == batch.rows.dtype == torch.int64


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_one_stream_is_enough(make):
    assert set(CollateClips()(table(make, flow=windows(1, 2))).windows) == {"flow"}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_a_table_in_several_chunks_keeps_its_order(make):
    one, two = windows(2, seed=1), windows(3, seed=2)
    chunked = pa.concat_tables([table(make, rgb=one), table(make, rgb=two)])
    batch = CollateClips()(chunked)
    assert torch.equal(batch.windows["rgb"], torch.from_numpy(np.concatenate([one, two])))
    assert batch.rows.tolist() == [10, 11, 10, 11, 12]


def test_tensors_may_be_written_to_without_changing_the_table():
    rgb = windows()
    source = table(ArrowTensorArray.from_numpy, rgb=rgb)
    batch = CollateClips()(source)
    batch.windows["rgb"].zero_()
    batch.labels.zero_()
    again = CollateClips()(source)
    assert torch.equal(again.windows["rgb"], torch.from_numpy(windows()))
    assert again.labels.tolist() == [2, -1, 0]
