"""Descriptions of runs and experiments, in Markdown: what MLflow's pages say above their numbers."""

import re
import shlex
from collections.abc import Iterable, Sequence

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.tracking.runs import Run

Paragraph = str | Sequence[str]
MAX_NOTE = 7900  # characters; MLflow's tags take 8000


def set_note(run: Run, paragraphs: Iterable[Paragraph]) -> None:
    """Describe a run.

    Args:
        run: to describe.
        paragraphs: texts, or lists of lines; empty ones are left out.
    """
    texts = [part if isinstance(part, str) else "\n".join(part) for part in paragraphs]
    run.set_tags({MLFLOW_RUN_NOTE: "\n\n".join(text for text in texts if text)[:MAX_NOTE]})


def escaped(text: str) -> str:
    """Text from outside, such as a class's name, as Markdown that shows it and is no markup."""
    return re.sub(r"([\\`*_\[\]<>|#~&!])", r"\\\1", " ".join(text.split()))


def pipes(rows: Sequence[Sequence[object]]) -> list[str]:
    """Rows as a table of Markdown, the first row a heading."""
    head, *body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return [head, f"|{' --- |' * len(rows[0])}", *body]


def commands(*lines: Sequence[str]) -> list[str]:
    """Command lines as a block to copy from, quoted for a shell; words in capitals are the reader's to fill in."""
    return ["```", *(shlex.join(words) for words in lines), "```"]
