"""Answers as text: for people, or a line for each video or action for programs."""

import json
from typing import Literal

from pipeline.registry.video_classifier import Actions
from pipeline.table import csv_text, table

Form = Literal["table", "json", "csv"]
HEAD = ("video", "rank", "action", "probability")


def text(form: Form, video: str, actions: Actions, number: int, count: int) -> str:
    """An answer; empty where there is none and the form does not say so.

    Args:
        form: table; json, a line; csv, a line for each action, and the names of the columns before the first.
        video: its name.
        actions: the answer.
        number: the number of the answer, from 1.
        count: the count of all answers.
    """
    best = list(zip(actions.labels, actions.probabilities, strict=True))
    if form == "json":
        return json.dumps({"video": video, **actions.model_dump()})
    if form == "csv":
        rows = [(video, rank, *action) for rank, action in enumerate(best, 1)]
        return csv_text([HEAD, *rows] if number == 1 else rows).rstrip("\n")
    which = f"  ({number} of {count})" if count > 1 else ""
    shares = [(label, f"{100 * share:.1f}") for label, share in best]
    return f"{video}{which}\n{table([('action', '%'), *shares])}" if best else ""
