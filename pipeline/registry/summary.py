"""Answers as text: a table or CSV for people, JSON lines for programs."""

import json
from typing import Literal

from pipeline.escaping import MESSAGE, one_line
from pipeline.registry.video_classifier import Actions
from pipeline.table import csv_text, table

Form = Literal["table", "json", "csv"]
HEAD = ("video", "rank", "action", "probability")


def text(form: Form, video: str, actions: Actions, number: int, count: int) -> str:
    """Return an answer as text; as table or csv, an answer without actions gives an empty string or the heading alone.

    Args:
        form: table; json, one line; or csv, one line per action, with the column names before the first answer.
        video: name of the video.
        actions: the answer.
        number: number of the answer, from 1.
        count: number of all answers.
    """
    best = list(zip(actions.labels, actions.probabilities, strict=True))
    if form == "json":
        return json.dumps({"video": video, **actions.model_dump()})
    if form == "csv":
        rows = [(video, rank, *action) for rank, action in enumerate(best, 1)]
        return csv_text([HEAD, *rows] if number == 1 else rows).rstrip("\n")
    which = f"  ({number} of {count})" if count > 1 else ""
    shares = [(label, f"{100 * share:.1f}") for label, share in best]
    return f"{one_line(video, MESSAGE)}{which}\n{table([('action', '%'), *shares])}" if best else ""


def about_code(model: str, whose: str) -> str:
    """Return the line about a model that another user has logged."""
    return (
        f"{model} is by {whose or 'an unknown user'}: a registry model is code, which MLflow's own commands run; "
        "predict reads its labels and weights alone, as data"
    )
