"""A study from data to report, and once more."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient

from pipeline.experiments.claims import Trainings
from pipeline.experiments.queue import Queue
from pipeline.experiments.reproduction import Studied, ready_data, run_study
from pipeline.experiments.run import Settings, run_trials
from pipeline.experiments.settings import StudyConfig
from pipeline.experiments.summary import studied
from pipeline.experiments.trial import Outcome, in_order, outcome_file
from pipeline.models import create_model, load_published

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def done(cluster, tmp_path_factory):
    """The claim that needs every kind of training, on a few clips; the lines of progress."""
    storage = str(tmp_path_factory.mktemp("study"))
    study = StudyConfig(storage=storage, seeds=(0,), claims=("supervision",), scale="tiny")
    lines: list[str] = []
    return study, run_study(study, write=lines.append), lines


def files_of(study: StudyConfig, result: Studied) -> dict[str, str]:
    """The file of the outcome of each training, by its name in the study."""
    tags = [child.data.tags for child in result.run.children()]
    return {each["experiment"]: outcome_file(study.storage, each["trial"]) for each in tags}


@pytest.mark.slow
def test_it_runs_what_the_claim_needs_and_says_what_came_out(done):
    _, result, lines = done
    assert result.failed == {}
    assert lines[0] == "claims: 4 trainings, 0 done before"
    assert len(lines) == 5
    assert lines[-1].startswith("claims 4/4: ")
    ((claim, (verdict,)),) = result.claims
    assert (claim.name, verdict.seeds, verdict.clips) == ("supervision", (0,), 5)
    text = Path(result.report).read_text()
    assert "| supervision | taught, then few labels / random, then few labels | test top-1 % |" in text
    assert verdict.digest in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (Path(result.report).parent / line.split("(")[1].rstrip(")")).stat().st_size > 1000
    assert "random, then few labels" in studied(result)
    (row,) = json.loads((Path(result.report).parent / "results.json").read_text())
    assert row["values"]["first"] == [verdict.first[0]]


@pytest.mark.slow
def test_what_a_training_starts_from_is_what_the_one_before_has_made(done):
    study, result, _ = done
    outcomes = {training: Outcome.load(file) for training, file in files_of(study, result).items()}
    teacher = torch.load(outcomes["densenet121-frames"].weights["inflate"], weights_only=True)
    assert load_published(create_model("densenet3d121", 5), teacher, partial=True).format == "DenseNet"
    config = (Path(study.storage) / "runs" / outcomes["i3d-patterns-student"].name / "run.json").read_text()
    assert json.loads(config)["config"]["model"]["weights"] == {"rgb": outcomes["i3d-taught"].weights["rgb"]}


@pytest.mark.slow
def test_runs_are_shown_below_one_that_holds_the_report(done):
    _, result, _ = done
    client = MlflowClient(result.run.uri)
    assert {file.path for file in client.list_artifacts(result.run.run_id, "report")} == {
        f"report/{name}"
        for name in (
            "report.md", "results.json", "study.json", "supervision_bars.png", "supervision_curves.png",
        )
    }  # fmt: skip
    experiment = client.get_run(result.run.run_id).info.experiment_id
    below = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{result.run.run_id}'")
    assert sorted(run.data.tags["experiment"] for run in below) == [
        "densenet121-frames", "i3d-patterns-scratch", "i3d-patterns-student", "i3d-taught",
    ]  # fmt: skip
    assert {run.info.status for run in below} == {"FINISHED"}


@pytest.mark.slow
def test_what_is_done_is_not_done_again(done):
    study, result, _ = done
    lines: list[str] = []
    again = run_study(study, write=lines.append)
    assert lines == ["claims: 4 trainings, 4 done before"]
    assert again.claims == result.claims
    assert again.run == result.run


@pytest.mark.slow
def test_what_fails_costs_only_what_starts_from_it(done):
    study, result, _ = done
    trainings = Trainings(study)
    teacher = trainings.image_network("densenet121", "imagenet")
    model = replace(teacher.config.model, name="densenet12")
    wrong = replace(teacher, name="wrong", config=replace(teacher.config, model=model))
    trials = in_order([replace(trainings.supervision(), starts={"inflate": wrong}).trial(0), teacher.trial(0)])
    lines: list[str] = []
    manifests = {"patterns": ready_data(study, "patterns")}
    queue = Queue("wrong", study.storage, manifests, trials, True, write=lines.append)
    run_trials(queue, result.run, Settings(study.storage, f"{study.storage}/experiments/wrong", 2, 0))
    assert queue.failed == {
        "wrong seed 0": "ValueError: Unknown model densenet12",
        "i3d-taught seed 0": "wrong seed 0 failed",
    }
    assert list(queue.outcomes) == [("densenet121-frames", 0)]  # done before
    assert lines[0] == "wrong: 3 trainings, 1 done before"


@pytest.mark.slow
def test_a_2d_network_that_is_trained_again_keeps_its_run(done):
    study, result, _ = done
    trial = Trainings(study).image_network("densenet121", "imagenet").trial(0)
    manifests = {"patterns": ready_data(study, "patterns")}
    Path(
        files_of(study, result)["densenet121-frames"]
    ).unlink()  # as if the process had been killed before it wrote the outcome
    before = {child.info.run_id for child in result.run.children()}
    queue = Queue("again", study.storage, manifests, [trial], True, write=lambda line: None)
    run_trials(queue, result.run, Settings(study.storage, f"{study.storage}/experiments/again", 2, 0))
    assert list(queue.outcomes) == [("densenet121-frames", 0)]
    assert {child.info.run_id for child in result.run.children()} == before
