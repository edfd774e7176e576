"""The jobs as a user runs them: in one process, by `ray job submit`, and the registered model behind them."""

import ast
import base64
import csv
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from pipeline.command_line import override
from pipeline.config import Config, save
from pipeline.evaluation.scores import read_scores
from pipeline.sqlite import address_of
from pipeline.tracking.source import code_digest, commit

CHECKOUT = Path(__file__).parents[2]
SHAPES = [
    "--recipe", "demo", "--catalog.motion_shapes.train", "1", "--catalog.motion_shapes.val", "1",
    "--catalog.motion_shapes.test", "1", "--catalog.motion_shapes.frames", "2", "--storage", "STORAGE",
]  # fmt: skip
MODEL = "models:/video-i3d-demo@candidate"


def job(name: str) -> ModuleType:
    """A job script as a module."""
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "jobs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    ["ingest", "pretrain_kinetics", "finetune", "transfer_youtube8m", "evaluate", "sweep", "predict", "reproduce"],
)
def test_help_works_and_shows_commands(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        job(name).main(["--help"])
    assert stopped.value.code == 0
    assert f"python jobs/{name}.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "argv", "line"),
    [
        ("ingest", ["--catalog.video", "x"], "--catalog.video: no such field; did you mean --catalog.videos?"),
        ("ingest", ["--catalog.dataset", "kinetics40"], r"catalog\.dataset: 'kinetics40'.*did you mean kinetics400"),
        ("ingest", [], r"catalog\.annotations: empty; give the CSV of each split"),
        ("pretrain_kinetics", ["--resume", "gone"], r"--resume gone: no such run in .*outputs/runs"),
        ("pretrain_kinetics", ["--name", "../x"], r"--name '\.\./x': use letters, digits"),
        (
            "pretrain_kinetics",
            [*SHAPES, "--evaluation.split", "tset"],
            r"evaluation\.split: no split 'tset'.*test, train",
        ),
        ("pretrain_kinetics", [*SHAPES, "--model.name", "i3"], r"model: unknown model \"i3\": did you mean \"i3d\""),
        ("pretrain_kinetics", [*SHAPES, "--model.options.batchnorm", "1"], r"has no option \"batchnorm\""),
        ("pretrain_kinetics", [*SHAPES, "--model.fine_tune", "full"], r"full needs --model\.weights\.rgb PATH"),
        ("finetune", ["--recipe", "i3d_ucf101"], r"--recipe i3d_ucf101: no such recipe; did you mean i3d_ucf101_"),
        ("sweep", ["--recipe", "demo_sweep", "--base.ingest.shards", "/nowhere"], r"no shard set there"),
        ("sweep", ["--crops=112"], r"--crops: any field is an axis now; give --axes\.clips\.crop 112"),
        ("reproduce", ["--claims", "transfr"], "--claims transfr: no such claim; did you mean transfer"),
        ("predict", ["/nowhere.mp4"], "/nowhere.mp4: no such file"),
        ("evaluate", [], "one of the arguments --model --run --checkpoint --fuse is required"),
        ("evaluate", ["--run", "gone", "--storage", "STORAGE"], r"--run gone: no such run in .*/runs"),
        ("evaluate", ["--run", "../x", "--storage", "STORAGE"], r"--run \.\./x: no such run"),
        ("evaluate", ["--checkpoint", "/nowhere"], r"--checkpoint /nowhere: no model\.pt there"),
        ("evaluate", ["--model", "models:/none@x", "--storage", "STORAGE"], r"models:/none@x: .* \(registry sqlite:"),
        ("evaluate", ["--fuse", "/nowhere"], r"/nowhere/scores\.parquet: no such file"),
        ("evaluate", ["--fuse", "/nowhere", "--weights", "1;2"], "--weights 1;2: not numbers with commas between"),
        ("evaluate", ["--fuse", "/nowhere", "--evaluation.protocol", "best"], r"evaluation\.protocol: 'best'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_right(name, argv, line, capsys, cluster, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        job(name).main([str(tmp_path) if word == "STORAGE" else word for word in argv])
    err = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2
    assert re.search(line, err[-1]), err


@pytest.fixture(scope="module")
def trained(shards: Config, tmp_path_factory) -> Config:
    """The tiny config trained, evaluated and registered by the job itself, once."""
    folder = tmp_path_factory.mktemp("job")
    config = override(shards, {"storage": str(folder), "name": "job", "tracking.uri": f"sqlite:///{folder}/mlflow.db"})
    save(config, folder / "config.yaml")
    job("pretrain_kinetics").main(["--config", str(folder / "config.yaml")])
    return config


def artifacts_of(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    """The paths of all files of a run."""
    found = client.list_artifacts(run_id, folder)
    below = [artifacts_of(client, run_id, item.path) for item in found if item.is_dir]
    return {item.path for item in found if not item.is_dir}.union(*below)


@pytest.mark.ray
@pytest.mark.slow
def test_the_job_leaves_runs_pictures_scores_and_a_candidate(trained):
    client = MlflowClient(trained.tracking.uri)
    experiment = client.get_experiment_by_name("demo")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"job", "job-rgb", "job-flow"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["job-flow"].data.tags["mlflow.parentRunId"] == runs["job"].info.run_id
    parent = runs["job"]
    assert parent.data.metrics["test/clips"] == 8
    assert {"test/rgb_top1", "test/flow_top1", "test/two_stream_top1"} <= set(parent.data.metrics)
    artifacts = artifacts_of(client, parent.info.run_id)
    top = {path for path in artifacts if "/" not in path}
    assert top == {"config.yaml", "environment.json", "model_card.md"}
    each = {"confusion.png", "classes.png", "classes.csv", "reliability.png", "hardest_pairs.csv"}
    assert {f"test/{name}/{file}" for name in ("rgb", "flow", "two_stream") for file in each} <= artifacts
    assert {"data/data_card.html", "curves/rgb.png", "curves/flow.png", "test/evaluation.json"} <= artifacts
    listed = Path(client.download_artifacts(parent.info.run_id, "attention/clips.csv")).read_text()
    looked = list(csv.DictReader(listed.splitlines()))
    right = round(8 * parent.data.metrics["test/two_stream_top1"])
    wrong = min(4, 8 - right)
    assert len(looked) == wrong + min(8 - wrong, right)
    for row in looked:
        assert row["picture"].endswith("_right.gif" if row["label"] == row["predicted"] else "_wrong.gif")
    pictures = {path for path in artifacts if path.startswith("attention/") and path.endswith(".gif")}
    assert pictures == {row["picture"] for row in looked}
    assert {used.dataset.name for used in parent.inputs.dataset_inputs} == {
        "motion_shapes-train", "motion_shapes-val", "motion_shapes-test",
    }  # fmt: skip
    for stream in ("rgb", "flow"):
        (curve,) = client.get_metric_history(parent.info.run_id, f"{stream}/val_loss")
        assert (curve.step, curve.value) == (1, runs[f"job-{stream}"].data.metrics["val/loss"])


@pytest.mark.ray
@pytest.mark.slow
def test_the_candidate_leads_back_to_its_run_its_scores_and_its_shards_and_says_so_in_its_card(trained):
    client = MlflowClient(trained.tracking.uri)
    version = client.get_model_version_by_alias("video-i3d-demo", "candidate")
    run = client.get_run(version.run_id)
    assert run.data.tags["registered_model"] == f"video-i3d-demo/{version.version}"
    assert version.tags["shards"] == trained.ingest.shards
    assert version.tags["dataset_digest"] == run.data.tags["dataset_digest"]
    assert (version.tags["clips"], version.tags["missing"]) == ("8", "0")
    model = client.get_logged_model(version.source.rpartition("/")[2])
    assert model.source_run_id == version.run_id
    (top1,) = (metric for metric in model.metrics if metric.key == "test/two_stream_top1")
    assert top1.value == run.data.metrics["test/two_stream_top1"]
    assert {metric.key.partition("/")[0] for metric in model.metrics} == {"test"}  # and not system metrics
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "video-i3d-demo", "version": 1}]
    assert (top1.dataset_name, top1.dataset_digest) == ("motion_shapes-test", version.tags["dataset_digest"])
    card = version.description
    assert Path(client.download_artifacts(version.run_id, "model_card.md")).read_text() == card
    for row in ("rgb", "flow", "two_stream"):
        top1, top5 = (100 * run.data.metrics[f"test/{row}_{name}"] for name in ("top1", "top5"))
        assert f"| {row.replace('_', '-')} | {top1:.1f} | {top5:.1f} |" in card
    assert "| val | validation (steers the learning rate, picks the checkpoint) | 101 | 101 | 0 |" in card
    assert "| test | test | 8 | 8 | 0 |" in card
    assert card.count("from scratch") == 2
    assert f"digest `{version.tags['dataset_digest']}`" in card


@pytest.mark.ray
@pytest.mark.slow
def test_predict_prints_the_top_five_of_a_file(trained, capsys):
    video = next(Path(trained.catalog.videos).rglob("*.mp4"))
    job("predict").main([str(video), "--tracking", trained.tracking.uri])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[:2] == [f"model {MODEL}", str(video)]
    assert len(lines) == 2 + 2 + 5
    with pytest.raises(SystemExit):
        job("predict").main([str(video), "--tracking", trained.tracking.uri, "--model", "models:/none@candidate"])
    assert "models:/none@candidate" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_a_registered_model_is_evaluated_again_and_its_stored_scores_fused(trained, capsys):
    job("evaluate").main(["--model", MODEL, "--tracking.uri", trained.tracking.uri, "--evaluation.batch_size", "3"])
    out = capsys.readouterr().out
    path = re.search(r"scores (\S+)", out)[1]
    first, again = read_scores(f"{trained.storage}/runs/job"), read_scores(path)
    assert again.digest == first.digest
    assert again.protocol.startswith("i3d (Quo Vadis")
    for stream, logits in first.all_logits.items():
        assert again.all_logits[stream] == pytest.approx(logits, rel=1e-4, abs=1e-4)
    assert re.search(rf"{re.escape(MODEL)} on test, data digest {first.digest}, 0 clips missing", out)
    assert re.search(r"two-stream( +\d+\.\d){5} +8\n", out)

    job("evaluate").main(
        ["--fuse", path, f"{trained.storage}/runs/job", "--weights", "1,0,0,1", "--average", "softmax",
         "--storage", trained.storage, "--tracking.uri", trained.tracking.uri, "--tracking.experiment", "demo"]
    )  # fmt: skip
    fused = read_scores(re.search(r"scores (\S+)", capsys.readouterr().out)[1])
    assert list(fused.logits) == ["rgb", "flow", "rgb_2", "flow_2"]
    assert fused.weights == (1, 0, 0, 1)

    client = MlflowClient(trained.tracking.uri)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id], order_by=["start_time DESC"])
    assert runs[0].data.tags["fusion"] == "softmax"
    tested = runs[1]
    assert tested.data.tags["source"] == MODEL
    assert tested.data.metrics["test/clips"] == 8
    names = artifacts_of(client, tested.info.run_id)
    assert {f"test/{stream}/confusion.png" for stream in first.all_logits} <= names
    listed = Path(client.download_artifacts(tested.info.run_id, "misclassified/clips.csv")).read_text()
    pictures = [row["picture"] for row in csv.DictReader(listed.splitlines())]
    wrong = 8 - round(8 * again.accuracy("two_stream").top1)
    assert len(pictures) == wrong
    assert {path for path in names if path.startswith("misclassified/")} == {"misclassified/clips.csv", *pictures}


@pytest.mark.ray
@pytest.mark.slow
def test_a_copied_storage_is_tested_by_what_it_holds_and_the_original_stays_as_it_is(trained, tmp_path, capsys):
    copy, original = tmp_path / "a%20b?", Path(trained.storage)
    shutil.copytree(original, copy)
    before = {path: path.read_bytes() for path in original.rglob("*") if path.is_file()}
    job("evaluate").main(["--run", "job", "--storage", str(copy), "--stream", "flow"])
    job("evaluate").main(["--model", MODEL, "--storage", str(copy), "--stream", "rgb"])
    out = capsys.readouterr().out
    assert len(re.findall(rf"scores {re.escape(str(copy))}/evaluations/\S+/scores\.parquet", out)) == 2
    assert {path: path.read_bytes() for path in original.rglob("*") if path.is_file()} == before
    client = MlflowClient(address_of(copy / "mlflow.db"))
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id], order_by=["start_time DESC"])
    for run in runs[:2]:
        assert (copy / "mlartifacts" / run.info.run_id / "artifacts" / "config.yaml").is_file()
    told = shlex.split(next(line for line in reversed(out.splitlines()) if " --fuse " in line))
    assert told[told.index("--storage") + 1] == str(copy)
    assert told[told.index("--tracking.uri") + 1] == address_of(copy / "mlflow.db")


@pytest.mark.ray
@pytest.mark.slow
def test_the_runs_say_what_they_are_and_what_they_came_to(trained):
    client = MlflowClient(trained.tracking.uri)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    tags = {run.info.run_name: run.data.tags for run in runs}
    top1 = next(run.data.metrics["test/flow_top1"] for run in runs if run.info.run_name == "job")
    note = tags["job"]["mlflow.note.content"]
    assert f"| flow | {100 * top1:.1f} |" in note
    assert f"digest `{tags['job']['dataset_digest']}`: `train` (16 clips) trains, `val` (101 clips) validates" in note
    assert "Registered as [`video-i3d-demo` version 1](#/models/video-i3d-demo/versions/1?workflowType=" in note
    assert "After 1 epoch the checkpoint that is kept" in tags["job-rgb"]["mlflow.note.content"]
    assert {each["code_digest"] for each in tags.values()} == {code_digest()}


@pytest.mark.ray
@pytest.mark.slow
def test_the_registered_model_has_a_signature_of_video_bytes_and_an_example(trained):
    mlflow.set_tracking_uri(trained.tracking.uri)
    mlflow.set_registry_uri(trained.tracking.uri)  # a job that another test ran in this process has set its own
    info = mlflow.models.get_model_info(MODEL)
    assert [str(column.type) for column in info.signature.inputs] == ["DataType.binary"]
    assert "probabilities" in str(info.signature.outputs)
    model = mlflow.pyfunc.load_model(MODEL)
    example = base64.decodebytes(model.input_example[0].encode())  # MLflow keeps it as JSON
    (actions,) = model.predict([example])
    assert sum(actions.probabilities) <= 1 + 1e-5
    assert actions.probabilities == sorted(actions.probabilities, reverse=True)
    (broken,) = model.predict([b"not a video"])
    assert broken.error.startswith("NotAVideo: ")


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_that_goes_on_behind_its_registration_registers_and_tests_nothing_twice(trained):
    client = MlflowClient(trained.tracking.uri)
    version = client.get_model_version_by_alias("video-i3d-demo", "candidate")
    before = artifacts_of(client, version.run_id)
    client.set_terminated(version.run_id, "FAILED")  # as a failure among the pictures would leave it
    job("pretrain_kinetics").main(["--resume", "job", "--storage", trained.storage])
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert [each.version for each in client.search_model_versions("name = 'video-i3d-demo'")] == [version.version]
    assert len(client.search_logged_models([run.info.experiment_id])) == 1
    assert len(client.get_metric_history(version.run_id, "test/clips")) == 1
    assert artifacts_of(client, version.run_id) == before


@pytest.mark.ray
@pytest.mark.slow
def test_mlflow_predicts_from_a_process_of_its_own(trained, tmp_path):
    video = next(Path(trained.catalog.videos).rglob("*.mp4"))
    (tmp_path / "in.json").write_text(json.dumps({"inputs": [base64.b64encode(video.read_bytes()).decode()]}))
    subprocess.run(
        [str(Path(sys.executable).with_name("mlflow")), "models", "predict", "--model-uri", MODEL, "--env-manager",
         "local", "--input-path", str(tmp_path / "in.json"), "--output-path", str(tmp_path / "out.json")],
        check=True, env={"MLFLOW_TRACKING_URI": trained.tracking.uri, "PATH": str(Path(sys.executable).parent)},
        cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    (actions,) = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert len(actions["labels"]) == len(actions["probabilities"]) == 5


@pytest.mark.slow
def test_a_job_submitted_to_a_head_runs_there_and_needs_absolute_paths(tiny, tmp_path):
    """Three commands in one job, since a head takes half a minute of a processor to start."""
    small = override(tiny, {"storage": str(tmp_path), "ingest.shards": str(tmp_path / "shards"), "catalog.limit": "3"})
    save(small, tmp_path / "config.yaml")
    commands = [
        ["python", "jobs/ingest.py", "--config", str(tmp_path / "config.yaml")],
        ["python", "-c", "from pipeline.tracking.source import source_tags; print(source_tags())"],
        ["python", "jobs/ingest.py", "--recipe", "demo", "--storage", "outputs"],
    ]
    submit = [str(CHECKOUT / "infra" / "local" / "submit.sh"), "sh", "-c", " && ".join(map(shlex.join, commands))]
    done = subprocess.run(submit, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert (tmp_path / "shards" / "_manifest.json").exists(), said
    assert f"  .venv/bin/python jobs/inspect_shards.py {tmp_path}/shards" in done.stdout  # as it can be copied here
    tags = ast.literal_eval(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert tags["mlflow.source.git.commit"] == commit(CHECKOUT / "pipeline" / "__init__.py")  # though it has no .git
    assert (tags["mlflow.source.type"], tags["code_digest"]) == ("JOB", code_digest())
    assert done.returncode != 0
    assert "--storage outputs: a submitted job needs an absolute path or a URI" in said
