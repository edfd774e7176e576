"""An MLflow server that goes away and comes back: a real one, behind a gate that can be shut."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR
from ray.train import UserCallback
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from pipeline.command_line import override
from pipeline.config import ConfigError
from pipeline.tracking import outages
from pipeline.tracking.outages import (
    OutageError,
    check_reachable,
    check_registry,
    tolerated,
    unreachable,
    when_it_answers,
)
from pipeline.tracking.runs import tracked_run
from pipeline.training.metric_points import Point, Sender
from pipeline.training.trainer import train_stream

HISTORY = [{"val/loss": 3.0, "lr": 0.1}, {"val/loss": 2.0, "lr": 0.1}, {"val/loss": 1.0, "lr": 0.01}]


class Gate:
    """Hands connections on to a server; while its file is there it cuts them all off."""

    def __init__(self, target: int, file: Path) -> None:
        self.target, self.file, self.refused = target, file, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            if self.file.exists():
                self.refused += 1
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            for one, other in ((client, server), (server, client)):
                one.settimeout(0.1)
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while not self.file.exists():
                try:
                    data = one.recv(1 << 16)
                except TimeoutError:
                    continue
                if not data:
                    break
                other.sendall(data)
        except OSError:
            pass  # the other side is gone
        one.close()
        other.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[int]:
    """The port of MLflow's own server application."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("server")
        patch.setenv(BACKEND_STORE_URI_ENV_VAR, f"sqlite:///{folder}/mlflow.db")
        patch.setenv(ARTIFACT_ROOT_ENV_VAR, str(folder / "artifacts"))
        from mlflow.server import app

        app.test_client().get("/api/2.0/mlflow/experiments/get?experiment_id=0")  # it makes its tables now
        served = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served.server_port
        served.shutdown()


@pytest.fixture
def gate(server, tmp_path) -> Gate:
    return Gate(server, tmp_path / "shut")


def steps(run) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in run.client.get_metric_history(run.run_id, "val/loss")]


def test_a_server_that_is_not_there_is_one_line_before_anything_is_computed():
    check_reachable("sqlite:////nowhere/mlflow.db")
    line = r"tracking\.uri: no MLflow at http://127\.0\.0\.1:9 \(.*Connection refused\); start it, give another URI"
    with pytest.raises(ConfigError, match=line):
        check_reachable("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("given", "status", "line"),
    [
        ({}, 401, r"refuses a request without user and password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PAS"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "WRONG"}, 401, "refuses this user and passwor"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "right"}, 0, ""),
        ({}, 403, r"forbids it .*; ask for access, or use its own address"),
    ],
)
def test_a_refusal_is_told_from_a_server_that_is_not_there(server, monkeypatch, given, status, line):
    """MLflow behind a proxy that asks for a password; a login of MLflow's own answers in the same way."""
    from mlflow.server import app

    def guarded(environ, respond):
        user = Request(environ).authorization
        if status == 403 or user is None or (user.username, user.password) != ("me", "right"):
            return Response("no", status)(environ, respond)
        return app(environ, respond)

    for name, value in given.items():
        monkeypatch.setenv(name, value)
    served = make_server("127.0.0.1", 0, guarded, threaded=True)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{served.server_port}"
    try:
        for check in (check_reachable, check_registry):
            if status:
                with pytest.raises(ConfigError, match=line) as refused:
                    check(uri)
                assert "no MLflow" not in str(refused.value)
                assert "WRONG" not in str(refused.value)
            else:
                check(uri)
    finally:
        served.shutdown()


def test_what_an_outage_has_missed_is_sent_once(gate, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with tracked_run(gate.uri, "e", "a") as run:
        run.log_history(HISTORY[:1])
        gate.file.touch()
        with tolerated(run.uri):
            run.log_history(HISTORY[:2])
        gate.file.unlink()
        assert steps(run) == [(1, 3.0)]
        run.log_history(HISTORY)
        run.log_history(HISTORY)
    assert steps(run) == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert "training goes on" in capfd.readouterr().err
    assert gate.refused


def test_an_outage_at_the_end_is_one_line_and_the_run_can_be_ended_later(gate, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(OutageError, match=rf"MLflow at {gate.uri} does not answer .*--resume NAME goes on"),
        tracked_run(gate.uri, "e", "parent"),
        tracked_run(gate.uri, "e", "a") as run,
    ):
        gate.file.touch()
    gate.file.unlink()
    with tracked_run(gate.uri, "e", "a", resume=run.run_id):
        run.log_history(HISTORY)
    assert steps(run)[-1] == (3, 1.0)
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


def test_a_server_that_comes_back_is_waited_for_and_one_that_does_not_is_said(gate, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(outages, "PAUSE_S", 0.05)
    gate.file.touch()
    with pytest.raises(ConfigError, match=f"no MLflow at {gate.uri}"):
        when_it_answers(gate.uri, 0.001)
    opened = threading.Timer(0.3, gate.file.unlink)
    opened.start()
    when_it_answers(gate.uri, 1)
    opened.join()
    assert capfd.readouterr().err.count("waiting for it, 0.0 of 1 minutes so far") == 1


def test_points_that_an_outage_has_delayed_come_later_once_and_no_step_waits_for_them(gate, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    points = [Point(1, 1_000, {"step/loss": 3.0})]
    with tracked_run(gate.uri, "e", "a") as run:
        first = Sender(run, points)
        first.send()
        first.finish()
        assert points == []
        gate.file.touch()
        points += [Point(2, 2_000, {"step/loss": 2.0})]
        away = Sender(run, points)
        start = time.monotonic()
        away.send()
        points += [Point(3, 3_000, {"step/loss": 1.0})]
        away.send()
        assert time.monotonic() - start < 0.5
        away.finish()
        assert [point.step for point in points] == [2, 3]
        gate.file.unlink()
        again = [Point(1, 4_000, {"step/loss": 9.0}), *points]  # of a worker that began anew from a checkpoint
        restarted = Sender(run, again)
        restarted.send()
        restarted.finish()
        assert again == []
        logged = run.client.get_metric_history(run.run_id, "step/loss")
    assert [(metric.step, metric.timestamp, metric.value) for metric in logged] == [
        (1, 1_000, 3.0), (2, 2_000, 2.0), (3, 3_000, 1.0),
    ]  # fmt: skip
    assert capfd.readouterr().err.count("training goes on") == 1


class ShutAfterFirst(UserCallback):
    """Shuts the gate when the first epoch is reported."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def after_report(self, run_context, metrics, checkpoint):
        self.file.touch()


@pytest.mark.ray
@pytest.mark.slow
def test_training_goes_on_without_the_server_and_its_metrics_are_complete(gate, shards, tmp_path):
    fields = {"training.epochs": "2", "resources.workers": "1", "training.val_split": "test"}
    with tracked_run(gate.uri, "e", "training") as run:
        trained = train_stream(override(shards, fields), "flow", run, str(tmp_path), [ShutAfterFirst(gate.file)])
        gate.file.unlink()
        assert gate.refused
        assert len(trained.history) == 2
        assert len(steps(run)) < 2
        run.log_history(trained.history)
    assert steps(run) == [(epoch, row["val/loss"]) for epoch, row in enumerate(trained.history, start=1)]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqlite:///{folder}", r"a folder; give a file that can be written"),
        ("sqlite:///{folder}/file/mlflow.db", r"file is no folder; give a file"),
        ("sqlite:////proc/nowhere/mlflow.db", r"the folder /proc cannot be written \("),
        ("sqlite:///{folder}/text", r"text: the file is no SQLite database"),
        ("ftp://somewhere/mlflow", r"^tracking\.uri: MLflow knows no ftp:// .* sqlite:///FILE"),
        ("mssql://user:word@nowhere/mlflow", r"^tracking\.uri: mssql://.*; install the driver of this database"),
        ("postgresql+nodriver://user@nowhere/mlflow", r"^tracking\.uri: .*install the driver of this database"),
    ],
)
def test_an_address_that_no_client_can_use_is_one_line_before_anything_begins(tmp_path, uri, message):
    (tmp_path / "file").touch()
    (tmp_path / "text").write_text("written by hand")
    with pytest.raises(ConfigError, match=message) as caught:
        check_reachable(uri.format(folder=tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mssql"])
def test_a_database_that_does_not_answer_is_said_before_its_driver_waits(kind):
    with socket.socket() as listens_to_nobody:
        listens_to_nobody.bind(("127.0.0.1", 0))
        port = listens_to_nobody.getsockname()[1]
        assert unreachable(f"{kind}://user:word@127.0.0.1:{port}/mlflow") == "Connection refused"


def test_a_file_that_can_be_made_is_taken_and_not_made(tmp_path):
    check_reachable(f"sqlite:///{tmp_path}/new/mlflow.db")
    assert not (tmp_path / "new").exists()
