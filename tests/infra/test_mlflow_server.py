"""MLflow with PostgreSQL, an S3 store and a login, really run: passwords, restarts in the middle of a run, backups."""

import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from ray.train import UserCallback

from pipeline.command_line import override
from pipeline.config import ConfigError
from pipeline.tracking.outages import check_reachable, check_registry
from pipeline.tracking.runs import tracked_run
from pipeline.training.trainer import train_stream
from tests.object_store import Store

from .manifests import INFRA
from .mlflow_stack import ADMIN_PASSWORD, Stack, mlflow_stack
from .test_mlflow import services

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("MLFLOW_SERVER" not in os.environ, reason="installs the server; MLFLOW_SERVER=1 runs it"),
]

PAGE = (INFRA / "mlflow" / "README.md").read_text()
JOBS = {"MLFLOW_TRACKING_USERNAME": "jobs", "MLFLOW_TRACKING_PASSWORD": "the jobs' password"}


def commands(heading: str) -> str:
    """The first block of commands below a heading of the page."""
    found = re.search(rf"^## {re.escape(heading)}$.*?^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def typed(stack: Stack, heading: str, folder: Path, **more: str) -> str:
    """Type the commands of the page in a shell, in a folder, with the variables that the page asks for."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(heading).replace("infra/mlflow/", f"{INFRA}/mlflow/")],
        cwd=folder, env={**stack.environment(), **more}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stack(_store: Store, request: pytest.FixtureRequest) -> Iterator[Stack]:
    cache = Path(request.config.cache.mkdir("mlflow-server"))
    # Not a folder of pytest's: PostgreSQL's own user must reach it, and each pytest that starts closes those to others.
    with tempfile.TemporaryDirectory(prefix="mlflow-stack-") as name:
        folder = Path(name)
        with mlflow_stack(folder, cache, _store, services()["mlflow"]) as made:
            typed(made, "Users", folder, JOBS_PASSWORD=JOBS["MLFLOW_TRACKING_PASSWORD"])
            yield made


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is a job: it has the user and the password of jobs."""
    for name, value in JOBS.items():
        monkeypatch.setenv(name, value)


def logged(uri: str, run_id: str) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """The curves of a run and the text of its artifact."""
    client = MlflowClient(uri, uri)
    names = client.get_run(run_id).data.metrics
    curves = {name: [(one.step, one.value) for one in client.get_metric_history(run_id, name)] for name in names}
    folder = client.download_artifacts(run_id, "note.txt")
    return curves, Path(folder).read_text()


def finished_run(uri: str) -> str:
    """A finished run of ours, with metrics and an artifact."""
    with tracked_run(uri, "backup", "one") as run:
        run.log_history([{"val/loss": 2.0, "lr": 0.1}, {"val/loss": 1.0, "lr": 0.01}])
        run.log_text("note.txt", "kept")
    return run.run_id


def test_only_the_right_password_opens_the_server(stack, monkeypatch):
    for name in JOBS:
        monkeypatch.delenv(name, raising=False)
    for check in (check_reachable, check_registry):
        with pytest.raises(ConfigError, match="refuses a request without user and password; set MLFLOW_TRACKING_USER"):
            check(stack.server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "jobs")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(ConfigError, match="refuses this user and password"):
        check_reachable(stack.server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", JOBS["MLFLOW_TRACKING_PASSWORD"])
    check_reachable(stack.server.uri)
    check_registry(stack.server.uri)


def test_users_see_the_runs_of_others_and_change_none(stack, monkeypatch, jobs):
    run_id = finished_run(stack.server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN_PASSWORD)
    client = MlflowClient(stack.server.uri)
    experiment = client.create_experiment("of the admin")
    theirs = client.create_run(experiment).info.run_id
    for name, value in JOBS.items():
        monkeypatch.setenv(name, value)
    assert client.get_run(theirs).info.run_id == theirs
    with pytest.raises(MlflowException, match=r"403|[Pp]ermission"):
        client.delete_run(theirs)
    client.delete_run(run_id)
    client.restore_run(run_id)


def test_no_password_is_in_the_server_s_command_and_artifacts_are_in_the_store(stack, jobs):
    run_id = finished_run(stack.server.uri)
    assert ADMIN_PASSWORD not in " ".join(stack.server.command)
    assert "password" not in " ".join(stack.server.command)
    pages = stack.store.client.get_paginator("list_objects_v2").paginate(Bucket="mlflow")
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    assert [key for key in keys if key.endswith(f"{run_id}/artifacts/note.txt")]


class Told(UserCallback):
    """Writes how many epochs are reported into a file."""

    def __init__(self, file: Path) -> None:
        self.file, self.reports = file, 0

    def after_report(self, run_context, metrics, checkpoint):
        self.reports += 1
        self.file.write_text(str(self.reports))


@pytest.mark.ray
def test_server_and_database_are_killed_in_the_middle_of_a_run_and_nothing_is_lost(stack, shards, tmp_path, jobs):
    """The server is away from the first epoch to the second; from the third on, the database has lost its power."""
    file, seen = tmp_path / "reports", []

    def reported(count: int) -> bool:
        return file.exists() and file.read_text() >= str(count)

    def wait(count: int) -> None:
        end = time.monotonic() + 300
        while not reported(count) and time.monotonic() < end:
            time.sleep(0.05)

    def faults() -> None:
        wait(1)
        stack.server.kill()
        wait(2)
        stack.server.start()
        seen.append("server")
        wait(3)
        stack.postgres.control("-m", "immediate", "restart")
        seen.append("database")

    thread = threading.Thread(target=faults)
    thread.start()
    fields = {"training.epochs": "6", "resources.workers": "1", "training.val_split": "test"}
    with tracked_run(stack.server.uri, "e", "killed") as run:
        trained = train_stream(override(shards, fields), "flow", run, str(tmp_path), [Told(file)])
        thread.join()
        run.log_history(trained.history)
    assert seen == ["server", "database"]
    curve = [(one.step, one.value) for one in run.client.get_metric_history(run.run_id, "val/loss")]
    assert curve == [(epoch, row["val/loss"]) for epoch, row in enumerate(trained.history, start=1)]
    assert len(curve) >= 3
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


def test_a_finished_run_outlives_the_sudden_end_of_all(stack, jobs):
    run_id = finished_run(stack.server.uri)
    before = logged(stack.server.uri, run_id)
    stack.server.kill()
    stack.postgres.control("-m", "immediate", "restart")
    stack.server.start()
    assert logged(stack.server.uri, run_id) == before


def test_backup_and_restore_as_the_page_says(stack, tmp_path, jobs):
    run_id = finished_run(stack.server.uri)
    before = logged(stack.server.uri, run_id)
    first = typed(stack, "Save", tmp_path)
    assert re.search(r"^[1-9]\d* objects copied to .*/backup/artifacts$", first, re.MULTILINE)
    assert "\n0 objects copied" in f"\n{typed(stack, 'Save', tmp_path)}"  # what is there is not read again

    assert "objects" in typed(stack, "Check", tmp_path)  # under the server that runs

    client = MlflowClient(stack.server.uri)
    experiment = client.get_run(run_id).info.experiment_id
    late = client.create_run(experiment).info.run_id  # after the backup: gone afterwards
    stack.server.kill()
    for key in [one["Key"] for one in stack.store.client.list_objects_v2(Bucket="mlflow")["Contents"]]:
        stack.store.client.delete_object(Bucket="mlflow", Key=key)
    stack.store.client.delete_bucket(Bucket="mlflow")
    drop = [stack.postgres.programs / "dropdb", "mlflow"]
    subprocess.run(drop, env={**stack.environment(), "PGDATABASE": "postgres"}, check=True)

    typed(stack, "Restore", tmp_path)
    stack.server.start()
    check_reachable(stack.server.uri)  # the users are back too
    assert logged(stack.server.uri, run_id) == before
    found = {run.info.run_id for run in client.search_runs([experiment])}
    assert run_id in found
    assert late not in found


def test_upgrade_as_the_page_says(stack, tmp_path, jobs):
    """To the same version, so that nothing changes: the commands are those that the next version takes."""
    run_id = finished_run(stack.server.uri)
    before = logged(stack.server.uri, run_id)
    (tmp_path / "backup").mkdir()
    stack.server.kill()
    typed(stack, "Upgrade", tmp_path)
    stack.server.start()
    assert logged(stack.server.uri, run_id) == before


def test_an_object_whose_name_leads_out_of_the_folder_is_refused(stack, tmp_path):
    stack.store.client.put_object(Bucket="mlflow", Key="../outside", Body=b"x")
    program = [stack.programs / "python", INFRA / "mlflow" / "objects.py", "save", tmp_path / "in"]
    done = subprocess.run(program, env=stack.environment(), capture_output=True, text=True, check=False)
    stack.store.client.delete_object(Bucket="mlflow", Key="../outside")
    assert done.returncode == 1
    assert "../outside: its name is not that of a file" in done.stderr
    assert not (tmp_path / "outside").exists()
