"""The benchmark of training measures what it says it does; its figures are not looked at."""

import json
import math

import pytest
import torch

from jobs.benchmark import main
from pipeline.benchmarks.devices import peaks
from pipeline.benchmarks.loops import Timed
from pipeline.benchmarks.train import Setting, compare, subject_of, supply
from pipeline.config import ConfigError, TrainingConfig
from pipeline.models.cost import count_gmacs
from pipeline.networks import build_network

CPU = torch.device("cpu")
TINY = Setting(frames=8, crop=32, batch=2, steps=1, repeats=1)


def test_our_step_and_the_plain_loop_have_a_row_each():
    ours, plain = compare(["i3d"], TINY, CPU, peak=1e12)
    assert (ours.loop, plain.loop, plain.ratio) == ("ours", "eager fp32", 1.0)
    assert (ours.network, ours.clip, ours.batch) == ("i3d", "8x32x32x3", 2)
    assert ours.ratio == ours.clips_per_s / plain.clips_per_s
    assert ours.clips_per_s == pytest.approx(2 / (ours.step_ms / 1000))
    gmacs = subject_of("i3d", TINY).gmacs()
    assert ours.mfu == pytest.approx(100 * 3 * 2 * gmacs * 1e9 * ours.clips_per_s / 1e12)


def test_a_network_is_given_the_papers_clips_unless_others_are_asked_for():
    assert subject_of("i3d", Setting()).clip == "64x224x224x3"
    assert subject_of("two_stream", Setting(frames=3, crop=64)).clip == "1x64x64x3 + 10x64x64x2"
    small = subject_of("c3d", Setting(crop=64))
    assert (small.clip, small.build().size) == ("16x64x64x3", 64)
    with pytest.raises(ConfigError, match=r"--networks i2d: no such network; there are i3d, "):
        subject_of("i2d", Setting())


def test_operations_are_those_of_one_clip():
    subject = subject_of("i3d", TINY)
    with torch.device("meta"):
        network = build_network(subject.config.model, "rgb", 400).eval()
        assert subject.gmacs() == count_gmacs(network, x=torch.empty(1, 3, 8, 32, 32))


def test_only_whole_turns_behind_the_warm_up_count_and_no_memory_is_no_figure(monkeypatch):
    done = []
    loop = Timed(lambda: (done.append(n) for n in range(10)), lambda: None, CPU)
    assert len(done) == 3
    loop.turn(4)
    assert len(done) == 7
    assert loop.best > 0

    def too_large():
        raise torch.OutOfMemoryError
        yield

    loop = Timed(too_large, lambda: None, CPU)
    loop.turn(4)
    assert loop.best is None


def test_a_peak_is_more_than_any_step_of_ours_reaches():
    found = peaks(CPU)
    assert found.keys() == {"bfloat16", "float32"}
    assert all(math.isfinite(rate) and rate > 0 for rate in found.values())
    assert max(found.values()) > 1e9  # some processors multiply bfloat16 number by number


@pytest.mark.slow
def test_the_job_prints_the_table_and_stores_it(tmp_path, capsys):
    size = {"--frames": "8", "--crop": "32", "--batch": "2", "--steps": "1", "--repeats": "1", "--precision": "bf16"}
    words = ["--networks", "i3d", *(word for pair in size.items() for word in pair)]
    main(["train", *words, "--device", "cpu", "--json", str(tmp_path / "train.json")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["network", "clip", "batch", "loop"]
    assert lines[-2].startswith("  ratio: times eager fp32; mfu: % of ")
    assert [row["loop"] for row in json.loads((tmp_path / "train.json").read_text())] == ["ours", "eager fp32"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--device", "cuda"])
    assert capsys.readouterr().err == f"error: --device cuda: torch {torch.__version__} sees no GPU here\n"


@pytest.mark.parametrize("name", ["tpux", "cpu:x"])
def test_a_device_that_torch_does_not_know_is_one_line(name, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--device", name])
    assert capsys.readouterr().err == f"error: --device {name}: torch knows no such device; say cpu, cuda or cuda:N\n"


@pytest.mark.ray
def test_a_shard_set_feeds_the_step_and_the_wait_is_a_share(shards):
    setting = Setting(frames=4, crop=32, batch=4, steps=3, training=TrainingConfig())
    figures = supply("i3d", setting, shards.ingest.shards, CPU)
    assert (figures.network, figures.clip) == ("i3d", "4x32x32x3")
    assert figures.clips_per_s > 0
    assert 0 <= figures.data_wait <= 100
