"""One MLflow database for all tests of tracking: to make its tables takes seconds."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tracking URI of a SQLite file."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder: MLflow makes `mlruns/` where the process is."""
    monkeypatch.chdir(tmp_path)
