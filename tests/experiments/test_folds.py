"""Cross-validation: one shard set for all folds, a sweep over them, and a plain loop beside it."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.benchmarks.folds import cross_validate
from pipeline.command_line import override
from pipeline.commands import benchmark
from pipeline.config import Config, ConfigError, save
from pipeline.experiments.sweep import run_sweep
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.recipes.folder import folder_sweep, resnet3d18_folder
from pipeline.shards import read_manifest
from pipeline.shards.splits import clips_in


@pytest.fixture(scope="module")
def base(shards: Config, tmp_path_factory) -> Config:
    """A set of 8 clips of 2 classes, of which each fold tests half; the rest is for training and validation."""
    folder = tmp_path_factory.mktemp("folds")
    clips = sorted(Path(shards.catalog.videos).rglob("*.mp4"))[:8]
    lines = ["file,group,fold"]
    for place, clip in enumerate(clips):
        name = f"{'ab'[place % 2]}/{place}.mp4"
        (folder / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / "videos" / name)
        lines.append(f"{name},{place},{place // 4}")
    (folder / "groups.csv").write_text("\n".join(lines) + "\n")
    small = {
        "storage": str(folder), "catalog.videos": str(folder / "videos"), "catalog.groups": str(folder / "groups.csv"),
        "catalog.fold": "all", "ingest.short_side": "32", "clips.crop": "32", "clips.frames": "4", "clips.stride": "1",
        "evaluation.val_frames": "4", "evaluation.split": "test", "training.epochs": "1", "training.batch_size": "2",
        "training.clips_per_step": "2", "schedule.warmup_steps": "0", "resources.worker_cpus": "0.5",
        "resources.loader_cpus": "0.5", "tracking.registered_model": "",
    }  # fmt: skip
    config = override(resnet3d18_folder(), small).resolved()
    ingest(config, configured_catalog(config), write=lambda line: None)
    return config


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_over_folds_tests_each_clip_once_and_a_plain_loop_has_the_same_clips(base, tmp_path, capsys):
    manifest = read_manifest(base.ingest.shards)
    assert sum(part["present"] for part in manifest["splits"].values()) == 8  # each clip once
    assert clips_in(manifest) == {"train0": 2, "val0": 2, "test0": 4, "train1": 2, "val1": 2, "test1": 4}
    sweep = override(folder_sweep(), {"axes.catalog.fold": "0,1"})
    alone = override(base, {"catalog.fold": "", "catalog.groups": "", "name": "folds"})
    result = run_sweep(type(sweep)(base=alone, axes=sweep.axes, over=sweep.over, test=sweep.test), lambda line: None)
    (row,) = result.rows
    assert (len(row.outcomes), row.state, result.failed) == (2, "done", {})
    assert [outcome.clips for outcome in row.outcomes] == [4, 4]
    assert "of each fold" in (Path(result.folder) / "results.md").read_text()

    plain, winner = tmp_path / "plain.json", f"{result.folder}/winner.yaml"
    benchmark.main(["folds", winner, "--folds", "0,1", "--json", str(plain)])
    rows = json.loads(plain.read_text())
    assert [(one["fold"], one["clips"], one["steps"]) for one in rows] == [("0", 4, 1), ("1", 4, 1)]
    assert {one["digest"] for one in rows} == {manifest["digest"]}
    first = capsys.readouterr().out
    benchmark.main(["folds", winner, "--folds", "0,1", "--json", str(plain)])  # what is done is not trained again
    assert json.loads(plain.read_text()) == rows
    assert capsys.readouterr().out.splitlines()[-4:] == first.splitlines()[-4:]


def test_the_plain_loop_wants_a_fold(tmp_path):
    save(resnet3d18_folder(), tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match=r"^train: not the split of a fold; give the config of a training on one"):
        list(cross_validate(tmp_path / "config.yaml", ["0"], [0], None))
