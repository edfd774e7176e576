"""What a run may go without: a picture that fails costs a line of warning, and never the run."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import console
from pipeline.tracking.outages import unreachable
from pipeline.tracking.runs import Run


@contextmanager
def may_fail(run: Run, what: str) -> Iterator[None]:
    """Go on without a picture, saying which and why; an interrupt, and a server that is away, are no matter of it.

    Args:
        run: that it is logged to.
        what: it is, by its path among the run's artifacts.
    """
    try:
        yield
    except Exception as error:
        if unreachable(run.uri):
            raise
        console.say(f"warning: {what} is left out, the run goes on without it: {reason(error)}")


def reason(error: BaseException) -> str:
    """The type and the last words of an error, in one line; of one that a Ray task raised, those of its cause."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[-1][:300]}" if lines else type(cause).__name__
