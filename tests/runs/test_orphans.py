"""What a killed process has left RUNNING in MLflow is ended by the next job, and nothing else is."""

import pytest
from mlflow.tracking import MlflowClient

from pipeline.config import ConfigError
from pipeline.runs.orphans import end_orphans
from pipeline.runs.run_lock import claimed
from pipeline.storage import make_folder, write_json
from pipeline.tracking.runs import Run


def test_only_runs_without_a_process_are_ended_and_said(tmp_path, capsys):
    storage, uri = str(tmp_path), f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri, uri)
    experiment = client.create_experiment("test")

    def started(name: str, parent: str = "") -> str:
        tags = {"mlflow.parentRunId": parent} if parent else {}
        return client.create_run(experiment, run_name=name, tags=tags).info.run_id

    def trained(name: str) -> str:
        run = started(name)
        make_folder(f"{storage}/runs/{name}")
        write_json(f"{storage}/runs/{name}/run.json", {"runs": {"all": run, "rgb": started(f"{name}-rgb", run)}})
        return run

    killed, running, mine, elsewhere = trained("killed"), trained("running"), trained("mine"), started("../killed")
    sweep = started("sweep")
    make_folder(f"{storage}/experiments/sweep")
    write_json(f"{storage}/experiments/sweep/experiment.json", {"run": sweep})
    with claimed(f"{storage}/runs/running", "running", resume=True):
        end_orphans(storage, uri, mine="mine")
    said = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(" is FAILED now: ")[0] for line in said) == ["run killed", "run sweep"]
    assert any(line.endswith("; --resume killed continues it") for line in said)
    status = {one: client.get_run(one).info.status for one in (killed, running, mine, elsewhere, sweep)}
    assert status == {killed: "FAILED", running: "RUNNING", mine: "RUNNING", elsewhere: "RUNNING", sweep: "FAILED"}
    assert [child.info.status for child in Run(uri, killed).children()] == ["KILLED"]
    assert client.get_run(killed).data.tags["last_failure"].startswith("its process ended without a word")
    end_orphans(storage, uri)
    end_orphans(storage, uri)
    assert capsys.readouterr().out.count("run mine is FAILED now") == 1


def test_a_server_that_does_not_answer_is_one_line(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match=r"^tracking\.uri: no MLflow at http://127\.0\.0\.1:1 "):
        end_orphans(str(tmp_path), "http://127.0.0.1:1")
