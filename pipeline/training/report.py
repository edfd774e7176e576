"""Everything that a test's scores say, logged to its MLflow run."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from typing import Any

from pipeline.tracking import figures
from pipeline.tracking.runs import Run, data_name
from pipeline.training.analysis import Analysis, ClassAccuracy, Pair, analyse
from pipeline.training.scores import Scores


def log_scores(
    run: Run, scores: Scores, step: int = 0, model_id: str | None = None, dataset: str | None = None
) -> dict[str, Analysis]:
    """Log every stream, and the fusion: numbers, confusion, classes, hardest pairs, calibration.

    Args:
        run: to log to.
        scores: of a split.
        step: of the metrics.
        model_id: of the logged model whose scores they are.
        dataset: name of the data set; its split and digest then go with the metrics.

    Returns:
        What was logged, by stream.
    """
    found = {name: analyse(scores, name) for name in scores.all_logits}
    data = None if dataset is None else (data_name(dataset, scores.split), scores.digest)
    about = {"split": scores.split, "protocol": scores.protocol, "fusion": scores.average}
    run.log_json("evaluation.json", {**about, "streams": {name: one.to_dict() for name, one in found.items()}})
    for name, one in found.items():
        worth = one.accuracy
        run.log_metrics(
            {
                f"test/{name}_top1": worth.top1,
                f"test/{name}_top5": worth.top5,
                f"test/{name}_mean": worth.mean,
                f"test/{name}_class_mean": one.class_mean,
                f"test/{name}_calibration_error": one.calibration.error,
                "test/clips": worth.clips,
                "test/missing": worth.missing,
            },
            step,
            model_id,
            data,
        )
        title = f"{name.replace('_', '-')}: {worth}, data {worth.digest}"
        run.log_figure(f"confusion_{name}.png", figures.confusion(one.confusion, scores.labels, title))
        shares, clips = [each.top1 for each in one.classes], [each.clips for each in one.classes]
        run.log_figure(f"classes_{name}.png", figures.class_accuracy(scores.labels, shares, clips, title))
        curve = one.calibration
        run.log_figure(
            f"reliability_{name}.png",
            figures.reliability(curve.confidence, curve.accuracy, curve.clips, curve.error, title),
        )
        run.log_text(
            f"classes_{name}.csv", csv_text([each.name for each in fields(ClassAccuracy)], map(astuple, one.classes))
        )
        run.log_text(
            f"hardest_pairs_{name}.csv", csv_text([each.name for each in fields(Pair)], map(astuple, one.pairs))
        )
    return found


def csv_text(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([heading, *rows])
    return text.getvalue()
