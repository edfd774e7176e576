"""The summary that a study prints at its end."""

from pipeline.studies.report import rows
from pipeline.studies.study import Studied
from pipeline.table import table


def studied(result: Studied) -> str:
    """Return the summary: one row per comparison, the path of the report, and the trainings that failed."""
    lines = ["", table(rows(result.claims)), f"  {result.report}"]
    lines += [f"  failed: {trial}: {reason}" for trial, reason in result.failed.items()]
    return "\n".join(lines)
