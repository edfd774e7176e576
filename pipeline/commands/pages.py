"""The MLflow address that a command prints at its end."""

from typing import TYPE_CHECKING

from pipeline.next_command import mlflow_ui

if TYPE_CHECKING:
    from pipeline.tracking.runs import Run


def pages(run: "Run") -> list[str]:
    """Return the address of a run's page; for a local tracking store, after the command that starts a server."""
    from pipeline.tracking.addresses import run_page, served

    return [run_page(run)] if served(run.uri) else [mlflow_ui(run.uri), run_page(run)]
