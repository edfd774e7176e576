"""Where MLflow shows a run or a model: addresses that open on it, and as machine learning, not as MLflow's GenAI."""

from mlflow.exceptions import MlflowException

from pipeline.masking import masked
from pipeline.tracking.runs import Run

LOCAL = "http://127.0.0.1:5000"  # of `mlflow ui` where there is no server
VIEW = "?workflowType=machine_learning"


def run_page(run: Run) -> str:
    """Address of a run; of the list of experiments where the server is away."""
    try:
        experiment = run.client.get_run(run.run_id).info.experiment_id
    except (MlflowException, OSError):
        return f"{_root(run.uri)}/#/experiments{VIEW}"
    return f"{_root(run.uri)}/#/experiments/{experiment}/runs/{run.run_id}{VIEW}"


def version_page(uri: str, name: str, version: str) -> str:
    """Address of a version of a registered model."""
    return f"{_root(uri)}/{version_path(name, version)}"


def version_path(name: str, version: str) -> str:
    """The same from any page of the server, for links in a description."""
    return f"#/models/{name}/versions/{version}{VIEW}"


def _root(uri: str) -> str:
    return masked(uri).rstrip("/") if served(uri) else LOCAL


def served(uri: str) -> bool:
    """Whether a tracking URI is of a server, which shows its own pages."""
    return uri.startswith(("http:", "https:"))
