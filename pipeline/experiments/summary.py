"""The summaries that a sweep and an experiment of the papers print at their end."""

from pipeline.config import TrackingConfig
from pipeline.experiments.reproduction import Studied
from pipeline.experiments.results import shown_rows
from pipeline.experiments.sweep import Swept
from pipeline.table import table


def studied(result: Studied) -> str:
    """Return the summary: the rows of the report, its path, and the trainings that failed."""
    return "\n".join(["", table(result.rows), f"  {result.report}", *_failures(result.failed)])


def swept(result: Swept) -> str:
    """Return the summary of a sweep: a row per point, the best in validation first, and the trials that failed."""
    base = result.space.sweep.base
    return "\n".join(
        [
            "",
            f"{base.model.name}, {','.join(base.model.streams)}, validated on {base.training.val_split}, the best "
            f"tested on {base.evaluation.split}, data digest {result.digest}",
            table(shown_rows(result.rows, result.axes)),
            f"  {result.folder}/results.md; in MLflow the run {result.name} with its pictures",
            *_registered(result.version, base.tracking),
            *_failures(result.failed),
        ]
    )


def _registered(version: str | None, tracking: TrackingConfig) -> list[str]:
    return [f"  registered {tracking.registered_model} version {version} as {tracking.alias}"] if version else []


def _failures(failed: dict[str, str]) -> list[str]:
    return [f"  failed: {trial}: {reason}" for trial, reason in failed.items()]
