"""The three splits of UCF-101 in one command: clips ingested once, a training for each split, and their mean."""

import json
import re
import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.clips.index import ClipIndex
from pipeline.commands import finetune
from pipeline.config import Config
from pipeline.runs import splits_in_turn
from pipeline.runs.pretrain import pretrain
from pipeline.shards import read_manifest

GROUPS, LABELS = (1, 2, 3, 4), ("Archery", "Basketball")


def ucf101(folder: Path, clips: list[Path]) -> list[str]:
    """Real files under published names: two classes of four groups, of which split N tests on group N."""
    lists = folder / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{number} {label}\n" for number, label in enumerate(LABELS, 1)))
    names = [f"{label}/v_{label}_g{group:02d}_c01" for label in LABELS for group in GROUPS]
    for name, clip in zip(names, clips, strict=True):
        (folder / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / "videos" / f"{name}.mp4")
    for split in (1, 2, 3):
        test = [name for name in names if f"g{split:02d}" in name]
        train = [f"{name}.avi {1 + LABELS.index(name.partition('/')[0])}\n" for name in names if name not in test]
        (lists / f"trainlist{split:02d}.txt").write_text("".join(train))
        (lists / f"testlist{split:02d}.txt").write_text("".join(f"{name}.avi\n" for name in test))
    return ["--catalog.videos", f"{folder}/videos", "--catalog.annotations.splits", str(lists)]


@pytest.mark.ray
@pytest.mark.slow
def test_three_splits_go_on_where_they_stopped_and_end_in_their_mean(shards: Config, tmp_path, capsys, monkeypatch):
    clips = sorted(Path(shards.catalog.videos).rglob("*.mp4"))[:: len(LABELS)][: len(LABELS) * len(GROUPS)]
    fields = {
        "recipe": "resnet3d18_ucf101_scratch", "name": "three", "storage": str(tmp_path), "catalog.split_number": "all",
        "ingest.short_side": "32", "clips.short_side": "none", "clips.crop": "32", "clips.frames": "8",
        "training.epochs": "1", "training.steps": "1", "training.batch_size": "6", "training.clips_per_step": "none",
        "evaluation.val_frames": "8", "tracking.registered_model": "video-three", "resources.worker_cpus": "0.5",
        "resources.loader_cpus": "0.5",
    }  # fmt: skip
    words = [word for name, value in fields.items() for word in (f"--{name}", value)]
    trained = []

    def stopped_at_the_second(config, **options):
        trained.append(config.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return pretrain(config, **options)

    monkeypatch.setattr(splits_in_turn, "pretrain", stopped_at_the_second)
    with pytest.raises(SystemExit):
        finetune.main([*words, *ucf101(tmp_path, clips)])
    said = capsys.readouterr().err
    assert "run three keeps 1 of 3 splits" in said
    assert "--resume three" in said

    finetune.main(["--resume", "three", "--storage", str(tmp_path)])
    out = capsys.readouterr().out
    assert trained == ["three-split1", "three-split2", "three-split2", "three-split3"]
    assert "split 1 is done: rgb" in out
    rows = re.findall(r"^ +rgb +(\d|mean) +([\d.]+) +100\.0", out, re.MULTILINE)
    assert [name for name, _ in rows] == ["1", "2", "3", "mean"]

    manifest = read_manifest(f"{tmp_path}/shards/ucf101")
    assert sum(part["present"] for part in manifest["splits"].values()) == 8  # each clip once
    stored = json.loads((tmp_path / "runs" / "three" / "splits.json").read_text())
    top1 = [one["accuracy"]["rgb"]["top1"] for one in stored.values()]
    assert {one["accuracy"]["rgb"]["digest"] for one in stored.values()} == {manifest["digest"]}
    assert [one["accuracy"]["rgb"]["clips"] for one in stored.values()] == [2, 2, 2]

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run = client.get_run(json.loads((tmp_path / "runs" / "three" / "run.json").read_text())["runs"]["all"])
    assert run.data.metrics["mean/rgb_top1"] == pytest.approx(sum(top1) / 3)
    assert run.info.status == "FINISHED"
    versions = client.search_model_versions("name = 'video-three'")
    parents = {client.get_run(one.run_id).data.tags["mlflow.parentRunId"] for one in versions}
    assert (len(versions), parents) == (3, {run.info.run_id})
    assert (
        "`train3` (6 clips) trains, `test3` (2 clips) validates and tests"
        in client.get_run(
            json.loads((tmp_path / "runs" / "three-split3" / "run.json").read_text())["runs"]["all"]
        ).data.tags["mlflow.note.content"]
    )

    sides = {split: ClipIndex.load(f"{tmp_path}/shards/ucf101", split).clip_ids for split in ("train2", "test2")}
    assert [name[-7:] for name in sides["test2"]] == ["g02_c01"] * 2
    assert not set(sides["train2"]) & set(sides["test2"])
    with pytest.raises(SystemExit):
        finetune.main(words)  # its name is taken
    assert "--name three: taken; --resume three continues it" in capsys.readouterr().err

    finetune.main([*words, "--name", "again", "--ingest.shards", f"{tmp_path}/shards/ucf101", "--plan"])
    assert "3 such trainings, one for each split" in capsys.readouterr().out  # the set alone has all three
