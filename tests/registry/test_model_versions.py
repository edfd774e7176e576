"""The registry: what is registered once, and whose model is meant when none is named."""

import json

import pytest
from mlflow.entities import LoggedModelOutput
from mlflow.tracking import MlflowClient

from pipeline.registry.model_versions import RegistryError, logged_before, newest, register, registered_before
from pipeline.tracking.runs import tracked_run

ALIAS = "preferred"  # that no other test gives


def test_the_newest_candidate_is_meant_whatever_its_name(uri, tmp_path):
    client = MlflowClient(uri, uri)
    with pytest.raises(RegistryError, match=r"no model is registered as preferred in sqlite:.*see --model"):
        newest(uri, ALIAS)
    for name in ("b", "a", "c"):
        client.create_registered_model(name)
        version = client.create_model_version(name, str(tmp_path)).version
        if name != "c":
            client.set_registered_model_alias(name, ALIAS, version)
    assert newest(uri, ALIAS) == "models:/a@preferred"
    version = client.create_model_version("b", str(tmp_path)).version
    client.set_registered_model_alias("b", ALIAS, version)
    assert newest(uri, ALIAS) == "models:/b@preferred"


def test_a_run_registers_its_model_once_however_often_it_goes_on(tmp_path):
    uri, name = f"sqlite:///{tmp_path}/mlflow.db", "video"
    client = MlflowClient(uri, uri)
    with tracked_run(uri, "e", "a", artifacts=str(tmp_path / "artifacts")) as run:
        experiment = client.get_run(run.run_id).info.experiment_id
        for status in ("READY", "FAILED"):  # the second broke off while it was logged
            made = client.create_logged_model(experiment, name=status, source_run_id=run.run_id)
            client.finalize_logged_model(made.model_id, status)
            client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, 0)])
        model = logged_before(run)
        assert client.get_logged_model(model.model_id).name == "READY"
        assert registered_before(run, name) is None
        assert register(run, model, name, "candidate", "card", {"top1": 0.5}) == "1"
        assert registered_before(run, name) == "1"
        client.delete_registered_model_alias(name, "candidate")
        client.delete_tag(run.run_id, "registered_model")  # as if it had been interrupted before its last step
        assert registered_before(run, name) is None
        assert register(run, model, name, "candidate", "card", {"top1": 0.5}) == "1"
    assert client.get_model_version_by_alias(name, "candidate").run_id == run.run_id
    assert client.get_logged_model(model.model_id).tags["mlflow.note.content"] == "card"
    assert json.loads(client.get_logged_model(model.model_id).tags["mlflow.modelVersions"]) == [
        {"name": name, "version": 1}
    ]
