"""What a job says of the cluster that it joins."""

import pytest

from pipeline.cluster import shared_database


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
