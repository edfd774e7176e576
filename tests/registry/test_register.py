"""A registered model says its test, its data and its run; a resumed run does not log its model again."""

import numpy as np
import pytest
from mlflow.entities import LoggedModelOutput

from pipeline.command_line import override
from pipeline.config import Config
from pipeline.evaluation.analysis import analyse
from pipeline.evaluation.scores import Scores
from pipeline.recipes.folder import i3d_folder
from pipeline.registry.model_versions import LoggedModel
from pipeline.registry.register import log_model, publish
from pipeline.tracking.runs import Run, tracked_run
from pipeline.training.trainer import Trained

LABELS = ("jump", "run")
DIGEST = "d" * 16
COUNTS = {"expected": 5, "present": 4, "failed": {"Truncated": 1}, "labels": {name: {"present": 2} for name in LABELS}}
MANIFEST = {
    "dataset": "folder", "digest": DIGEST, "labels": list(LABELS), "plan": {"flow_version": "cpu 1"},
    "splits": dict.fromkeys(("train", "val", "test"), COUNTS),
}  # fmt: skip


@pytest.fixture
def scores() -> Scores:
    """Four clips, of which RGB gets three right, and one that is missing."""
    logits = np.eye(2, dtype=np.float32)[[0, 0, 1, 0]]
    names = np.array([f"clip{number}" for number in range(4)])
    return Scores("test", DIGEST, 1, LABELS, names, np.array([0, 0, 1, 1]), {"rgb": logits}, "i3d (Quo Vadis)")


@pytest.fixture
def config(uri) -> Config:
    return override(
        i3d_folder(),
        {"name": "one", "recipe": "i3d_folder", "tracking.uri": uri, "tracking.registered_model": "own-clips"},
    )


def logged(run: Run) -> LoggedModel:
    made = run.client.create_logged_model(run.client.get_run(run.run_id).info.experiment_id, source_run_id=run.run_id)
    run.client.finalize_logged_model(made.model_id, "READY")
    run.client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, 0)])
    return LoggedModel(made.model_id, f"models:/{made.model_id}")


def test_a_version_carries_its_test_its_data_and_its_run(config, scores, uri, tmp_path):
    best = {"val/top1": 0.5, "val/clips": 4.0, "val/loss": 1.25}
    trained = {"rgb": Trained("rgb", "/data/rgb/checkpoint_1", best, [best])}
    with tracked_run(uri, "register", "one", artifacts=str(tmp_path / "artifacts")) as run:
        analyses = {"rgb": analyse(scores, "rgb")}
        version = publish(config, run, logged(run), MANIFEST, trained, scores, analyses)
    found = run.client.get_model_version_by_alias("own-clips", config.tracking.alias)
    assert (str(found.version), found.run_id) == (version, run.run_id)
    assert {name: found.tags[name] for name in ("top1", "clips", "missing", "split", "dataset_digest")} == {
        "top1": "0.7500", "clips": "4", "missing": "1", "split": "test", "dataset_digest": DIGEST,
    }  # fmt: skip
    assert (found.tags["recipe"], found.tags["run"]) == ("i3d_folder", "one")
    assert "75.0" in found.description
    assert [file.path for file in run.client.list_artifacts(run.run_id)] == ["model_card.md"]


def test_a_run_that_has_logged_its_model_does_not_log_it_again(config, uri, tmp_path):
    with tracked_run(uri, "register", "one", artifacts=str(tmp_path / "artifacts")) as run:
        before = logged(run)
        assert log_model(config, run, {}, index=None) == before  # networks and clips are not looked at


def test_without_a_name_nothing_is_logged(config, uri):
    nameless = override(config, {"tracking.registered_model": ""})
    assert log_model(nameless, Run(uri, "none"), {}, index=None) is None
