"""One MLflow database for all tests of tracking: to make its tables takes seconds."""

import pytest


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tracking URI of a SQLite file."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
