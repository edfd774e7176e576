"""From decoded columns to batches of tensors, and the order in which tasks of a cluster give them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.clips import loader
from pipeline.clips.decoding import Decoder
from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import Batch, load_batches
from pipeline.clips.normalise import normalise
from pipeline.clips.sampling import TrainingSampler
from pipeline.shards import ShardError


def windows(clips=3, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (clips, 4, 6, 5, channels), dtype=np.uint8)


def table(**streams):
    clips = len(next(iter(streams.values())))
    return {
        "rows": np.arange(clips, dtype=np.int64) + 10,
        "labels": np.array([2, -1, 0, 1, 5][:clips], np.int64),
        **streams,
    }


def test_columns_become_a_batch():
    rgb, flow = windows(), windows(channels=2, seed=1)
    batch = Batch.of(table(rgb=rgb, flow=flow))
    assert len(batch) == 3
    assert set(batch.windows) == {"rgb", "flow"}
    assert torch.equal(batch.windows["rgb"], torch.from_numpy(rgb))
    assert torch.equal(batch.windows["flow"], torch.from_numpy(flow))
    assert batch.rows.tolist() == [10, 11, 12]
    assert batch.labels.tolist() == [2, -1, 0]
    assert batch.windows["rgb"].dtype == torch.uint8
    assert batch.labels.dtype == batch.rows.dtype == torch.int64


def test_one_stream_is_enough():
    assert set(Batch.of(table(flow=windows(1, 2))).windows) == {"flow"}


def test_what_tasks_run_imports_no_torch():
    samplers = "pipeline.clips.sampling, pipeline.evaluation.views, pipeline.clips.pairs"
    code = f"import sys, pipeline.clips.decoding, {samplers}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "pipeline.clips.pairs" in modules
    assert "torch" not in modules


@pytest.fixture
def index(shards):
    return ClipIndex.load(shards.ingest.shards, "val")


BATCHES = [np.array(rows) for rows in ([5, 3], [100], [7, 8, 9], [3, 5], *([row] for row in range(20)))]


class Said:
    """A sampler that says which clip it was asked for; of some batches, something else."""

    def __init__(self, folder, action=None):
        self.folder, self.action = Path(folder), action

    def __call__(self, index, row, stream):
        with (self.folder / f"{row}").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if self.action:
            self.action(row, self.folder)
        return np.full((1, 2, 2, 3 if stream == "rgb" else 2), row, np.uint8)


def rows_of(batches):
    return [batch.rows.tolist() for batch in batches]


@pytest.mark.ray
class TestCluster:
    def test_batches_come_in_their_order_with_the_windows_of_their_clips(self, index, shards):
        sample = TrainingSampler(shards.clips, 0, 0)
        batches = list(load_batches(index, ("rgb", "flow"), BATCHES, sample, 1))
        assert rows_of(batches) == [rows.tolist() for rows in BATCHES]
        for batch, rows in zip(batches[:4], BATCHES, strict=False):
            here = Batch.of(Decoder(index, ("rgb", "flow"), sample).decode(rows) | {"labels": index.label[rows]})
            assert torch.equal(batch.labels, torch.from_numpy(index.label[rows]))
            for stream in ("rgb", "flow"):
                assert torch.equal(normalise(batch.windows[stream]), normalise(here.windows[stream]))

    def test_order_is_kept_where_later_batches_are_ready_first(self, index, tmp_path):
        def slow(row, folder):
            time.sleep(0.3 if row == 5 else 0)

        assert rows_of(load_batches(index, ("rgb",), BATCHES, Said(tmp_path, slow), 1)) == [b.tolist() for b in BATCHES]

    def test_what_a_task_raises_is_raised_at_its_batch(self, index, tmp_path):
        def broken(row, folder):
            if row == 9:
                raise ShardError("clip 9: gone")

        batches = load_batches(index, ("rgb",), BATCHES, Said(tmp_path, broken), 1)
        assert rows_of([next(batches), next(batches)]) == [[5, 3], [100]]
        with pytest.raises(ShardError, match=r"^clip 9: gone$"):
            next(batches)

    def test_a_killed_task_is_done_again(self, index, tmp_path):
        def kill_once(row, folder):
            if row == 100 and not (folder / "killed").exists():
                (folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        assert len(list(load_batches(index, ("rgb",), BATCHES, Said(tmp_path, kill_once), 1))) == len(BATCHES)
        assert len((tmp_path / "100").read_text().split()) == 2

    def test_few_batches_are_decoded_before_they_are_asked_for(self, index, tmp_path):
        batches = load_batches(index, ("rgb",), BATCHES, Said(tmp_path), 1, share=0.5)  # 2 of 4 CPUs
        next(batches)
        time.sleep(2)
        begun = sum(len(path.read_text().split()) for path in tmp_path.iterdir())
        assert begun <= sum(map(len, BATCHES[: 1 + 2 + loader.AHEAD]))

    def test_no_more_are_kept_than_there_is_room_for(self, index, tmp_path, monkeypatch):
        monkeypatch.setattr(loader, "STORE", 1e-12)
        batches = load_batches(index, ("rgb",), BATCHES[4:], Said(tmp_path), 2.5)  # one at a time
        for expected in BATCHES[4:]:
            assert next(batches).rows.tolist() == expected.tolist()
            time.sleep(0.05)
            assert not (tmp_path / str(int(expected[0]) + 2)).exists()

    def test_nothing_gives_nothing(self, index, tmp_path):
        assert list(load_batches(index, ("rgb",), [], Said(tmp_path), 1)) == []
