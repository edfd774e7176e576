"""How a command says where MLflow shows what it has done."""

from typing import TYPE_CHECKING

from pipeline.masking import masked
from pipeline.next_command import mlflow_ui

if TYPE_CHECKING:
    from pipeline.tracking.runs import Run


def pages(run: "Run") -> list[str]:
    """The address of a run's page and, where no server shows it yet, the line that starts one."""
    from pipeline.tracking.addresses import run_page, served

    return [run_page(run)] if served(run.uri) else [mlflow_ui(masked(run.uri)), run_page(run)]
