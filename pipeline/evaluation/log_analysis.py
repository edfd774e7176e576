"""Logging of the analysis of a test's scores to its MLflow run."""

from collections.abc import Mapping
from dataclasses import astuple, fields
from functools import partial

from pipeline.evaluation.analysis import Analysis, ClassAccuracy, Pair, analyse
from pipeline.evaluation.scores import Scores
from pipeline.figures import charts as figures
from pipeline.table import csv_text
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.runs import Run, data_name


def log_scores(
    run: Run, scores: Scores, model_id: str | None = None, dataset: str | None = None
) -> dict[str, Analysis]:
    """Log the metrics, class accuracies and hardest pairs of every stream and of the fusion.

    Args:
        run: the MLflow run to log to.
        scores: scores of a split.
        model_id: id of the logged model that has these scores.
        dataset: name of the data set; if given, it is logged with the metrics, together with split and digest.

    Returns:
        The analysis of each stream, and of the fusion.
    """
    found = analyses(scores)
    data = None if dataset is None else (data_name(dataset, scores.split), scores.digest)
    about = {"split": scores.split, "protocol": scores.protocol, "fusion": scores.average}
    run.log_json("test/evaluation.json", {**about, "streams": {name: one.to_dict() for name, one in found.items()}})
    worth = next(iter(found.values())).accuracy
    metrics: dict[str, float] = {"test/clips": worth.clips, "test/missing": worth.missing}
    for name, one in found.items():
        metrics |= {
            f"test/{name}_top1": one.accuracy.top1,
            f"test/{name}_top5": one.accuracy.top5,
            f"test/{name}_mean": one.accuracy.mean,
            f"test/{name}_class_mean": one.class_mean,
            f"test/{name}_calibration_error": one.calibration.error,
        }
        for path, kind, rows in (("classes", ClassAccuracy, one.classes), ("hardest_pairs", Pair, one.pairs)):
            heading = [each.name for each in fields(kind)]
            run.log_text(f"test/{name}/{path}.csv", csv_text([heading, *map(astuple, rows)]))
    run.log_metrics(metrics, step=0, model_id=model_id, data=data)  # MLflow draws a metric with step 0 alone as a bar
    return found


def analyses(scores: Scores) -> dict[str, Analysis]:
    """Analyse every stream and, last, the fusion."""
    return {name: analyse(scores, name) for name in scores.all_logits}


def log_figures(run: Run, scores: Scores, found: Mapping[str, Analysis]) -> None:
    """Log charts of the analyses: confusion, class accuracies, calibration."""
    for name, one in found.items():
        title = f"{name.replace('_', '-')}: {one.accuracy}, data {one.accuracy.digest}"
        shares, clips = [each.top1 for each in one.classes], [each.clips for each in one.classes]
        curve = one.calibration
        drawn = {
            "confusion": partial(figures.confusion, one.confusion, scores.labels),
            "classes": partial(figures.class_accuracy, scores.labels, shares, clips),
            "reliability": partial(figures.reliability, curve.confidence, curve.accuracy, curve.clips, curve.error),
        }
        for kind, draw in drawn.items():
            with may_fail(run, path := f"test/{name}/{kind}.png"):
                run.log_figure(path, draw(title))
