"""Addresses of MLflow's pages for runs and models, in its view for machine learning instead of that for GenAI."""

from mlflow.exceptions import MlflowException

from pipeline.masking import masked
from pipeline.tracking.runs import Run

LOCAL = "http://127.0.0.1:5000"  # address of `mlflow ui`, for a tracking URI without a server
VIEW = "?workflowType=machine_learning"


def run_page(run: Run) -> str:
    """Return the address of a run; that of the list of experiments if MLflow does not answer."""
    try:
        experiment = run.client.get_run(run.run_id).info.experiment_id
    except (MlflowException, OSError):
        return f"{_root(run.uri)}/#/experiments{VIEW}"
    return f"{_root(run.uri)}/#/experiments/{experiment}/runs/{run.run_id}{VIEW}"


def version_page(uri: str, name: str, version: str) -> str:
    """Return the address of a version of a registered model."""
    return f"{_root(uri)}/{version_path(name, version)}"


def version_path(name: str, version: str) -> str:
    """Return the address of a version relative to any page of the server, for links in descriptions."""
    return f"#/models/{name}/versions/{version}{VIEW}"


def _root(uri: str) -> str:
    return masked(uri).rstrip("/") if served(uri) else LOCAL


def served(uri: str) -> bool:
    """Return whether a tracking URI is that of a server, which shows its own pages."""
    return uri.startswith(("http:", "https:"))
