"""Descriptions of runs, in Markdown, which MLflow's pages show above the metrics."""

import shlex
from collections.abc import Iterable, Sequence

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.tracking.runs import Run

Paragraph = str | Sequence[str]
MAX_NOTE = 7900  # characters; MLflow's tags hold 8000


def set_note(run: Run, paragraphs: Iterable[Paragraph]) -> None:
    """Describe a run.

    Args:
        run: the run to describe.
        paragraphs: texts, or lists of lines; empty ones are left out.
    """
    texts = [part if isinstance(part, str) else "\n".join(part) for part in paragraphs]
    run.set_tags({MLFLOW_RUN_NOTE: "\n\n".join(text for text in texts if text)[:MAX_NOTE]})


def pipes(rows: Sequence[Sequence[object]]) -> list[str]:
    """Format rows as a Markdown table; the first row is the heading, and cells from outside must be escaped."""
    head, *body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return [head, f"|{' --- |' * len(rows[0])}", *body]


def commands(*lines: Sequence[str]) -> list[str]:
    """Format command lines, quoted for a shell, as a block to copy; the reader replaces words in capitals."""
    return ["```", *(shlex.join(words) for words in lines), "```"]
