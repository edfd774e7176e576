"""What MLflow's pages say of a run, and where they are."""

import pytest

from pipeline.commands.pages import pages
from pipeline.tracking.addresses import run_page, version_page
from pipeline.tracking.notes import commands, pipes, set_note
from pipeline.tracking.runs import Run, tracked_run


def test_a_description_is_markdown_without_passwords_and_never_too_long(uri):
    with tracked_run(uri, "notes", "a") as run:
        set_note(
            run, ["**A**", pipes([["network", "clips"], ["rgb", 3]]), "", commands(["echo", "a b", "http://u:p@h"])]
        )
        note = run.client.get_run(run.run_id).data.tags["mlflow.note.content"]
        set_note(run, ["x" * 20000])
    table = ["| network | clips |", "| --- | --- |", "| rgb | 3 |"]
    assert note.splitlines() == ["**A**", "", *table, "", "```", "echo 'a b' http://***@h", "```"]
    run.client.create_experiment("made by hand", tags={"mlflow.note.content": "mine"})
    with tracked_run(uri, "made by hand", "a"):
        tags = run.client.get_experiment_by_name("made by hand").tags
    assert (tags["mlflow.note.content"], tags["mlflow.experimentKind"]) == ("mine", "custom_model_development")
    experiment = run.client.get_experiment_by_name("notes")
    assert "Video action recognition" in experiment.tags["mlflow.note.content"]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_an_address_leads_to_the_page_of_the_run_as_machine_learning(uri):
    with tracked_run(uri, "notes", "a") as run:
        pass
    experiment = run.client.get_run(run.run_id).info.experiment_id
    page = f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run.run_id}?workflowType=machine_learning"
    assert run_page(run) == page
    (ui, shown) = pages(run)
    assert ui.endswith(f"ui --backend-store-uri {uri}")
    assert shown == page


@pytest.mark.parametrize(
    ("uri", "root"), [("http://mlflow:5000/", "http://mlflow:5000"), ("https://me:s3cret@host", "https://***@host")]
)
def test_a_server_is_named_by_its_own_address(uri, root):
    assert version_page(uri, "video", "3") == f"{root}/#/models/video/versions/3?workflowType=machine_learning"


def test_a_server_that_is_away_costs_the_address_its_end_and_nothing_else(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Run("http://127.0.0.1:9", "x")
    assert run_page(away) == "http://127.0.0.1:9/#/experiments?workflowType=machine_learning"
    assert pages(away) == [run_page(away)]
