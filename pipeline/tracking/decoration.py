"""Artifacts that a run can do without: if a picture fails, a warning is printed and the run continues."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import console
from pipeline.tracking.outages import unreachable
from pipeline.tracking.runs import Run


@contextmanager
def may_fail(run: Run, what: str) -> Iterator[None]:
    """Print a warning and continue if a picture fails; an interrupt or an unreachable server is raised.

    Args:
        run: MLflow run to which the picture is logged.
        what: path of the picture among the run's artifacts.
    """
    try:
        yield
    except Exception as error:
        if unreachable(run.uri):
            raise
        console.say(f"warning: {what} is left out, the run goes on without it: {reason(error)}")


OF_A_DATABASE = ("[SQL: ", "[parameters: ", "(Background on this error at")  # what SQLAlchemy adds to an error


def reason(error: BaseException) -> str:
    """Return the type and last line of an error, in one line; for an error of a Ray task, those of its cause."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(OF_A_DATABASE)] or lines
    return f"{type(cause).__name__}: {lines[-1][:300]}" if lines else type(cause).__name__
