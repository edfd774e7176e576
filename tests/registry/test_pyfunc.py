"""The registered model as MLflow has it: it needs no more than its requirements, and each video has its answer."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from pipeline.command_line import override
from pipeline.config import Config, to_dict
from pipeline.evaluation.scores import FUSED
from pipeline.networks import build_network
from pipeline.registry.model_versions import fetch, log_classifier
from pipeline.registry.requirements import requirements
from pipeline.shards import encode_video
from pipeline.tracking.runs import Run

FIELDS = {
    "model.name": "two_stream", "clips.rgb_every": "4", "clips.frames": "4", "clips.crop": "32",
    "ingest.short_side": "32", "ingest.flow.nscales": "1", "ingest.flow.warps": "1", "ingest.flow.epsilon": "0.1",
    "ingest.max_seconds": "2",
}  # fmt: skip
# Refuses whatever no requirement brings along, in this process and in those that it starts.
BLOCK = """
import importlib.metadata as metadata
import json, os, sys
from packaging.requirements import Requirement

wanted, names = [Requirement(line) for line in json.loads(os.environ["ONLY"])], set()
while wanted:
    one = wanted.pop()
    name = one.name.lower().replace("_", "-")
    if name in names or (one.marker and not any(one.marker.evaluate({"extra": extra}) for extra in ["", *one.extras])):
        continue
    names.add(name)
    try:
        wanted += map(Requirement, metadata.requires(one.name) or [])
    except metadata.PackageNotFoundError:
        pass
of = metadata.packages_distributions()
foreign = {top for top, found in of.items() if not names & {each.lower().replace("_", "-") for each in found}}
foreign -= {"pipeline"}  # comes with the model

class Only:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in foreign:
            raise ModuleNotFoundError(f"no requirement brings {name}", name=name)

assert "ray" in foreign and "torchvision" in foreign
sys.meta_path.insert(0, Only())
"""
PREDICT = """
import json, sys
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
import pipeline
answers = model.predict([open(video, "rb").read() for video in sys.argv[2:]])
print(json.dumps({"from": pipeline.__file__, "answers": [answer.model_dump() for answer in answers]}))
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """12 frames of 32 x 48."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    path.write_bytes(encode_video(frames, 25, 17, 6))
    return path


@pytest.fixture(scope="module")
def logged(tmp_path_factory, video) -> Path:
    """A model of an untrained network of RGB and flow, logged as a training logs it, and downloaded."""
    folder, config = tmp_path_factory.mktemp("logged"), override(Config(), FIELDS)
    torch.manual_seed(0)
    torch.save(build_network(config.model, FUSED, 3).state_dict(), folder / "weights.pt")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("here", artifact_location=str(folder / "artifacts"))
    run = Run(f"sqlite:///{folder}/mlflow.db", client.create_run(experiment).info.run_id)
    weights = {FUSED: str(folder / "weights.pt")}
    model = log_classifier(run, weights, ["a", "b", "c"], to_dict(config), video.read_bytes())
    stored = fetch(run.uri, model.uri, folder / "model")
    assert stored.labels == ("a", "b", "c")
    return next((folder / "model").rglob("MLmodel")).parent


@pytest.fixture(scope="module")
def model(logged):
    return mlflow.pyfunc.load_model(str(logged))


def test_a_broken_video_costs_no_other_its_answer(model, video, clips_dir, caplog):
    good = video.read_bytes()
    sent = [good, b"", (clips_dir / "corrupted.mp4").read_bytes(), (clips_dir / "street_10s.mp4").read_bytes(), good]
    answers = model.predict(sent)
    assert [answer.error and answer.error.partition(":")[0] for answer in answers] == [
        None, "ZeroByte", answers[2].error.partition(":")[0], "TooLong", None,
    ]  # fmt: skip
    assert all(len(answer.error.splitlines()) == 1 for answer in answers[1:4])
    assert answers[0] == answers[4]
    assert answers[3].error == "TooLong: longer than 2 s, the most that this model takes; cut it"


def test_of_json_it_takes_base64_and_never_a_path(model, video):
    text = base64.encodebytes(video.read_bytes()).decode()
    answers = model.predict([text, str(video), "no base64!", 5])
    assert [answer.error for answer in answers] == [
        None,
        *["NoVideo: text that is no base64; send the content of a video file, not where it lies"] * 2,
        "NoVideo: int; send the content of a video file, in JSON as base64",
    ]


def test_parameters_are_typed_have_defaults_and_are_answered_in_one_line(model, video):
    schema = {each.name: (each.dtype.name, each.default) for each in model.metadata.get_params_schema()}
    assert schema == {"top_k": ("long", 5), "views": ("long", 0), "crops": ("long", 0)}
    (two,) = model.predict([video.read_bytes()], params={"top_k": 2})
    assert len(two.labels) == 2
    (refused,) = model.predict([video.read_bytes()], params={"top_k": 0})
    assert refused.error == "top_k: 0; give 1 or more"
    (refused,) = model.predict([video.read_bytes()], params={"views": 3})
    assert refused.error.startswith("evaluation.protocol: views does not fit two_stream")


def test_its_signature_says_what_it_takes_and_answers(model):
    assert [str(column.type) for column in model.metadata.signature.inputs] == ["DataType.binary"]
    answered = model.metadata.signature.outputs.to_dict()[0]["properties"]
    assert set(answered) == {"labels", "probabilities", "error"}
    assert not answered["error"]["required"]


@pytest.mark.slow
def test_it_loads_and_predicts_where_there_is_nothing_but_its_requirements(logged, model, video, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    lines = (logged / "requirements.txt").read_text().split()
    assert lines == requirements(Config().ingest, override(Config(), FIELDS).model)
    only = {"PYTHONPATH": str(tmp_path), "ONLY": json.dumps(lines)}
    check_same(predicted(sys.executable, logged, video, only), model, video)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("WALK"), reason="takes long: WALK=1 downloads what the model requires")
def test_it_loads_and_predicts_in_an_environment_made_of_its_requirements(logged, model, video, tmp_path):
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    try:
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", logged / "requirements.txt"], check=True)
        check_same(predicted(str(python), logged, video, {}), model, video)
    finally:
        shutil.rmtree(tmp_path / "environment")


def check_same(answers: list[dict], model, video: Path) -> None:
    """Whether another process answers as this one."""
    (answer,), (expected,) = answers, model.predict([video.read_bytes()])
    assert answer["labels"] == expected.labels
    assert answer["probabilities"] == pytest.approx(expected.probabilities, rel=1e-5)
    assert answer["error"] is None


def predicted(python: str, model: Path, video: Path, environment: dict[str, str]) -> list[dict]:
    """What a process of its own answers, which imports this package from the model alone."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [python, "-c", PREDICT, model, video], capture_output=True, text=True, env=kept | environment, cwd=model.parent
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert Path(told["from"]).is_relative_to(model)
    return told["answers"]


def test_models_without_flow_need_no_numba():
    rgb = override(Config(), {"model.streams": "rgb"})
    names = [line.partition("==")[0] for line in requirements(rgb.ingest, rgb.model)]
    assert {"ray", "numba", "pyarrow"}.isdisjoint(names)
    assert [line.partition("==")[0] for line in requirements(Config().ingest, Config().model)] == sorted(
        [*names, "numba"]
    )
    assert not any("+" in line for line in requirements(Config().ingest, Config().model))
