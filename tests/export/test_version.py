"""Exports among the files of a registered version."""

import pytest
from mlflow.entities import LoggedModelOutput

from pipeline.export.run import REPORT, Exported, ExportError
from pipeline.export.version import log_export
from pipeline.registry.model_versions import LoggedModel, register
from pipeline.tracking.runs import tracked_run


def test_an_export_is_logged_beside_the_files_of_its_version(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "out").mkdir()
    for name in ("rgb.pt2", "rgb.pt", REPORT):
        (tmp_path / "out" / name).write_text(name)
    done = Exported(tmp_path / "out", ("rgb.pt2",), {}, (), {})
    with tracked_run(uri, "e", "a", artifacts=str(tmp_path / "artifacts")) as run:
        experiment = run.client.get_run(run.run_id).info.experiment_id
        made = run.client.create_logged_model(experiment, source_run_id=run.run_id)
        run.client.finalize_logged_model(made.model_id, "READY")
        run.client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, 0)])
        register(run, LoggedModel(made.model_id, f"models:/{made.model_id}"), "video", "candidate", "card", {})
    assert log_export(uri, "models:/video@candidate", done) == "video version 1"
    assert log_export(uri, "models:/video/1", done) == "video version 1"
    files = [each.path for each in run.client.list_logged_model_artifacts(made.model_id, "export")]
    assert sorted(files) == ["export/export.json", "export/rgb.pt2"]
    assert run.client.get_model_version("video", "1").tags["exported"] == "rgb.pt2"
    for wrong in ("models:/video/7", "models:/nobody@candidate"):
        with pytest.raises(ExportError, match=f"--log: {wrong}: "):
            log_export(uri, wrong, done)
