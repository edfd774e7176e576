"""What a study says at its end: one line a comparison, what failed, and where the report is."""

from pipeline.studies.report import rows
from pipeline.studies.study import Studied
from pipeline.table import table


def studied(result: Studied) -> str:
    """One line a comparison, what failed, where the report is, and how to look at the runs."""
    lines = ["", table(rows(result.claims)), f"  {result.report}"]
    lines += [f"  failed: {trial}: {reason}" for trial, reason in result.failed.items()]
    return "\n".join(lines)
