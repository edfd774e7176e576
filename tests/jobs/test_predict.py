"""`video-actions predict`, as a user calls it."""

import csv
import getpass
import io
import json
import os
import re
import shutil
import socket
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from pipeline.command_line import override
from pipeline.commands.predict import main
from pipeline.config import Config, to_dict
from pipeline.networks import build_network
from pipeline.registry.model_versions import log_classifier, register
from pipeline.shards import encode_video
from pipeline.sqlite import address_of
from pipeline.tracking.runs import Run

FIELDS = {
    "model.name": "resnet3d18", "model.streams": "rgb", "clips.frames": "4", "clips.crop": "32",
    "ingest.short_side": "32",
}  # fmt: skip


TAKES_BYTES = os.uname().sysname == "Linux"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A user's folder: outputs/mlflow.db with a candidate; videos/ with two good ones, one behind a dash, and a bad."""
    top, config = tmp_path_factory.mktemp("user"), override(Config(), FIELDS)
    (top / "videos" / "b").mkdir(parents=True)
    (top / "outputs").mkdir()
    (top / "empty").mkdir()
    video = encode_video(np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8), 25, 17, 6)
    (top / "videos" / "-4wsuPCjDBc.mp4").write_bytes(video)
    (top / "videos" / "b" / "good.mkv").write_bytes(video)
    (top / "videos" / "a.mp4").write_bytes(b"broken")
    (top / "dashes").mkdir()
    for name in ("--BJ0jtg800.mp4", "--0123456789", "-.mp4", "-1.mp4"):
        (top / "dashes" / name).write_bytes(video)
    weights = top / "a%20b? #1" / "rgb.pt"  # where a run may keep them
    weights.parent.mkdir()
    torch.save(build_network(config.model, "rgb", 3).state_dict(), weights)
    client = MlflowClient(f"sqlite:///{top}/outputs/mlflow.db")
    experiment = client.create_experiment("here", artifact_location=str(top / "outputs" / "mlartifacts"))
    run = Run(f"sqlite:///{top}/outputs/mlflow.db", client.create_run(experiment).info.run_id)
    logged = log_classifier(run, {"rgb": str(weights)}, ["x", "y", "z"], to_dict(config), video)
    assert "probabilities" in str(mlflow.models.get_model_info(logged.uri).signature.outputs)
    register(run, logged, "mine", "candidate", "card", {})
    return top


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def test_a_bad_video_among_good_ones_is_named_and_costs_no_answer(here, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["videos", "--top", "2"])
    out, err = capsys.readouterr()
    assert stopped.value.code == 1
    assert [line for line in err.splitlines() if line.startswith("error")] == [err.splitlines()[-1]]
    assert f"error: {here}/videos/a.mp4: NotAVideo: " in err
    heads = [line for line in out.splitlines() if "videos" in line]
    assert heads == [f"{here}/videos/-4wsuPCjDBc.mp4  (1 of 3)", f"{here}/videos/b/good.mkv  (3 of 3)"]
    assert out.startswith("model models:/mine@candidate\n")
    assert len(out.splitlines()) == 1 + 2 * (1 + 2 + 2)


@pytest.mark.ray
@pytest.mark.slow
def test_many_videos_get_tables_and_a_timeline(cluster, here, capsys):
    """What is answered for many videos is that of the test of such a network, to the digits of the averages."""
    words = ["videos", "--out", "answers", "--timeline", "--output", "csv", "--step", "4", "--top", "2"]
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert "1 NotAVideo (permanent)" in out
    assert f"{here}/answers/actions.csv: the likeliest actions of 2 videos" in out
    with (here / "answers" / "actions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["video"], row["rank"]) for row in rows] == [
        (f"{here}/videos/{name}", rank) for name in ("-4wsuPCjDBc.mp4", "b/good.mkv") for rank in "12"
    ]
    main(["videos/b/good.mkv", "--output", "json", "--top", "1"])
    alone = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (rows[2]["action"], float(rows[2]["probability"])) == (
        alone["labels"][0],
        pytest.approx(alone["probabilities"][0], abs=1e-5),
    )
    with (here / "answers" / "timeline.csv").open(newline="") as file:
        segments = [row for row in csv.DictReader(file) if row["video"].endswith("good.mkv")]
    assert (float(segments[0]["start_s"]), float(segments[-1]["end_s"])) == (0.0, 12 / 25)
    assert sum(int(row["windows"]) for row in segments) == 3
    assert (here / "answers" / "timeline.png").is_file()


def test_names_that_cannot_be_read_cost_the_others_nothing(here, capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "link" / "folder").symlink_to(here / "videos")
    names = ["gone.mp4", "empty", str(tmp_path), "videos/b/good.mkv"]
    if TAKES_BYTES:
        (tmp_path / os.fsdecode(b"caf\xe9.mp4")).write_bytes((here / "videos/b/good.mkv").read_bytes())
    with pytest.raises(SystemExit) as stopped:
        main([*names, "--top", "1"])
    out, err = capsys.readouterr()
    assert stopped.value.code == 1
    assert [line for line in err.splitlines() if line.startswith("error")] == [
        "error: gone.mp4: no such file",
        "error: empty: no video in this folder",
        f"error: {tmp_path}/link/folder: a link that leaves the folder is not followed; put the files themselves here",
        f"error: {tmp_path}/link/gone.mp4: no such file",
        f"error: {tmp_path}/pipe.mp4: not a file",
    ]
    heads = [line.partition("  (")[0] for line in out.splitlines() if ".m" in line and "(" in line]
    assert heads == [*([f"{tmp_path}/caf\\udce9.mp4"] if TAKES_BYTES else []), "videos/b/good.mkv"]


@pytest.mark.slow
def test_ids_that_begin_with_dashes_are_files(here, capsys, monkeypatch):
    monkeypatch.chdir(here / "dashes")
    for name in ("--BJ0jtg800.mp4", "--0123456789", "-.mp4", "-1.mp4"):
        main([name, "--tracking", "../outputs", "--top", "1"])
        assert capsys.readouterr().out.splitlines()[1] == name


def test_answers_are_read_by_programs(here, capsys, monkeypatch):
    monkeypatch.chdir(here / "videos")
    registry = ["--tracking", "../outputs/mlflow.db"]
    main(["-4wsuPCjDBc.mp4", "--output", "json", *registry])  # begins with a dash
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["video"], each["error"], len(each["labels"])) for each in told] == [("-4wsuPCjDBc.mp4", None, 3)]
    main([*registry, "--output", "csv", "--views", "2", "--", "-4wsuPCjDBc.mp4", "b/good.mkv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["video"], row["rank"]) for row in rows[::3]] == [
        ("'-4wsuPCjDBc.mp4", "1"),  # a spreadsheet would take it for a formula
        ("b/good.mkv", "1"),
    ]
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(2)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["-4wsuPCjDBd.mp4"], "-4wsuPCjDBd.mp4: no such file"),
        (["empty"], "empty: no video in this folder"),
        (["--BJ0jtg800.mp4"], "--BJ0jtg800.mp4: no such file"),
        (["--tops", "3", "videos"], "unrecognized arguments: --tops"),
        (["videos", "--top", "0"], "top_k: 0; give 1 or more"),
        (["videos", "--model", "models:/none@candidate"], "models:/none@candidate: .*there is models:/mine@candidate"),
        (["videos", "--model", "models:/mine@champion"], "models:/mine@champion: .*there is models:/mine@candidate"),
        (["videos", "--tracking", "nonsense://x"], "no MLflow at nonsense://x"),
        (["videos", "--tracking", "postgresql://u:p@127.0.0.1:1/x"], "no MLflow at postgresql"),
        (["videos", "--tracking", "sqlite:////nowhere/x.db"], "no MLflow database /nowhere/x.db; pass --tracking"),
        (["videos", "--tracking", "videos/a.mp4"], "videos/a.mp4 is no MLflow database"),
    ],
)
def test_a_mistake_is_one_line(here, argv, line, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    err = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert re.search(line, err[-1]), err


def test_from_another_folder_it_makes_no_empty_database(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([str(folder / "videos")])
    assert f"no MLflow database {tmp_path}/outputs/mlflow.db; pass --tracking" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", [pytest.param("moved", marks=pytest.mark.slow), pytest.param("a%20b", marks=pytest.mark.slow), "what? #1"]
)
def test_a_model_is_found_in_a_storage_that_was_moved(folder, tmp_path, name, capsys):
    before = tmp_path / "before"
    shutil.copytree(folder / "outputs", before)  # a copy is used where it is, and leads nowhere else
    argv = [str(folder / "videos" / "b"), "--top", "1", "--tracking"]
    main([*argv, str(before)])
    assert f"the storage was moved from {folder}/outputs: MLflow's paths lead to {before}/mlartifacts now" in (
        capsys.readouterr().err
    )
    shutil.move(before, tmp_path / name)
    assert not before.exists()
    for tracking in (tmp_path / name, tmp_path / name / "mlflow.db", address_of(tmp_path / name / "mlflow.db")):
        main([*argv, str(tracking)])
        assert "models:/mine@candidate" in capsys.readouterr().out
    (path,) = (tmp_path / name / "mlartifacts").rglob("rgb.pt")
    path.unlink()
    with pytest.raises(SystemExit):
        main([*argv, str(tmp_path / name)])
    assert re.search(
        r"(?m)^error: models:/mine@candidate: \S+rgb\.pt is missing among its files", capsys.readouterr().err
    )
    shutil.move(tmp_path / name / "mlflow.db", tmp_path / "alone.db")
    shutil.rmtree(tmp_path / name)
    with pytest.raises(SystemExit):
        main([*argv, str(tmp_path / "alone.db")])
    says = "error: models:/mine@candidate: its files are not where the registry says; move mlflow.db and mlartifacts to"
    assert capsys.readouterr().err.splitlines()[-1].startswith(says)


def test_a_server_that_is_away_is_said_at_once(folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port, began = taken.getsockname()[1], time.monotonic()
        with pytest.raises(SystemExit):
            main([str(folder / "videos"), "--tracking", f"http://127.0.0.1:{port}"])
    assert "Connection refused" in capsys.readouterr().err
    assert time.monotonic() - began < 30


def test_whose_code_a_model_brings_is_said_before_it_is_loaded(here, capsys):
    client = MlflowClient(f"sqlite:///{here}/outputs/mlflow.db")
    run = client.get_model_version_by_alias("mine", "candidate").run_id
    for user, says in (("mallory\x1b[2J", "models:/mine@candidate is by mallory[2J: a registry model is code"),
                       (getpass.getuser(), "")):  # fmt: skip
        client.set_tag(run, "mlflow.user", user)
        main(["videos/b/good.mkv"])
        err = capsys.readouterr().err
        assert err.startswith(says)
        assert ("code" in err) == bool(says)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("flavors: {python_function: {artifacts: {model: {path: ../secret.json}}}}", "leads out of it"),
        ("flavors: {python_function: {artifacts: {model: {path: /etc/passwd}}}}", "leads out of it"),
        ("flavors: {python_function: {loader_module: os, data: x}}", "'artifacts'"),
        ("a: &a [1]\nb: *a", "an alias"),
        ("!!python/object/apply:os.system ['touch ran']", "could not determine a constructor"),
        ("[1]", "list indices"),
    ],
)
def test_a_model_of_others_is_refused_and_none_of_it_is_run(here, tmp_path, capsys, written, says):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(written)
    (tmp_path / "secret.json").write_text('{"streams": [], "labels": [], "config": {}}')
    with pytest.raises(SystemExit):
        main(["videos/b/good.mkv", "--model", str(tmp_path / "model")])
    err = capsys.readouterr().err
    assert "an unknown user: a registry model is code" in err.splitlines()[0]
    assert says in err.splitlines()[-1]
    assert "not a video classifier of this package" in err
    assert not Path("ran").exists()
