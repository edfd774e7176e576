"""What a job says of the cluster that it joins."""

import pytest

from pipeline.cluster import connect, shared_database, when_there_is_room
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.workers import Machines, TooSmallError


@pytest.mark.parametrize(
    ("uri", "nodes", "warns"),
    [
        ("sqlite:////data/mlflow.db", 3, True),
        ("sqlite+pysqlite:////data/a%3Fb.db", 2, True),
        ("sqlite:////data/mlflow.db", 1, False),
        ("http://mlflow:5000", 3, False),
        ("postgresql://mlflow@host/mlflow", 3, False),
    ],
)
def test_one_sqlite_file_for_several_nodes_is_said(uri, nodes, warns):
    note = shared_database(uri, nodes)
    assert (note is not None) == warns
    if note:
        assert note.startswith(f"warning: {nodes} nodes write their runs to the SQLite file /data/")


def test_a_job_waits_for_machines_says_so_and_gives_up_in_time(cluster, monkeypatch, capsys):
    """The requests go to the session's cluster, which has no autoscaler."""
    monkeypatch.setattr("pipeline.cluster.PAUSE_S", 0.01)
    small = TooSmallError("the cluster has 1 CPU", [{"CPU": 2.0}])
    answers = iter([small, small, Config(name="fits")])

    def fit(there: Machines) -> Config:
        answer = next(answers, small)
        if isinstance(answer, TooSmallError):
            raise answer
        return answer

    assert when_there_is_room(fit, minutes=1).name == "fits"
    with pytest.raises(TooSmallError, match=r"^the cluster has 1 CPU$"):
        when_there_is_room(fit, minutes=0.001)
    waits = "the cluster has 1 CPU; waiting for more machines, 0.0 of {} minutes so far (resources.wait_minutes)"
    assert capsys.readouterr().err.splitlines() == [waits.format("1"), waits.format("0.001")]


def test_a_cluster_of_this_machine_alone_does_not_grow(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(TooSmallError, match=r"^resources\.ingest_cpus: 400, the cluster has 4$"):
        connect(override(Config(), {"resources.ingest_cpus": "400", "storage": str(tmp_path)}), need_training=False)
    assert "waiting" not in capsys.readouterr().err
