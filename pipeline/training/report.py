"""Everything that a test's scores say, logged to its MLflow run."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from typing import Any

import numpy as np

from pipeline.clips.index import ClipIndex
from pipeline.clips.sampling import DECODE
from pipeline.clips.windows import whole_clip
from pipeline.tracking import figures
from pipeline.tracking.animations import animate
from pipeline.tracking.runs import Run
from pipeline.training.analysis import Analysis, ClassAccuracy, Pair, analyse, probabilities
from pipeline.training.scores import Scores


def log_scores(run: Run, scores: Scores, step: int = 0) -> dict[str, Analysis]:
    """Log every stream, and the fusion: numbers, confusion, classes, hardest pairs, calibration.

    Args:
        run: to log to.
        scores: of a split.
        step: of the metrics.

    Returns:
        What was logged, by stream.
    """
    found = {name: analyse(scores, name) for name in scores.all_logits}
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
            step=step,
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
            f"classes_{name}.csv", _csv([each.name for each in fields(ClassAccuracy)], map(astuple, one.classes))
        )
        run.log_text(f"hardest_pairs_{name}.csv", _csv([each.name for each in fields(Pair)], map(astuple, one.pairs)))
    return found


def log_misclassified(run: Run, scores: Scores, name: str, index: ClipIndex, bound: float, count: int = 8) -> int:
    """Log the clips of which the network was surest and wrong, as small animated pictures.

    Args:
        run: to log to.
        scores: of the split of `index`.
        name: of the stream, or `two_stream`.
        index: where the clips are; flow is shown beside the frames where it is stored.
        bound: of the stored flow, in pixels.
        count: how many at most.

    Returns:
        How many there are.
    """
    probability = probabilities(scores.all_logits[name])
    predicted, confidence = probability.argmax(axis=1), probability.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    worst = [int(i) for i in order if predicted[i] != scores.targets[i]][:count]
    rows = {clip: row for row, clip in enumerate(index.clip_ids.tolist())}
    listed = []
    for number, i in enumerate(worst, start=1):
        picture = f"misclassified/{number:02}.gif"  # no name from the data set chooses a path
        row = rows[str(scores.clip_ids[i])]
        stride = max(1, -(-int(index.num_frames[row]) // 32))
        frames = DECODE["rgb"](index.blob(row, "rgb"), whole_clip(int(index.num_frames[row]), stride))
        flow = None
        if index.num_flow[row]:
            flow = DECODE["flow"](index.blob(row, "flow"), whole_clip(int(index.num_flow[row]), stride))
        run.log_bytes(picture, animate(frames, flow, bound))
        label, taken = scores.labels[scores.targets[i]], scores.labels[predicted[i]]
        listed.append((picture, scores.clip_ids[i], label, taken, f"{confidence[i]:.4f}"))
    run.log_text("misclassified.csv", _csv(["picture", "clip_id", "label", "predicted", "confidence"], listed))
    return len(listed)


def _csv(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([heading, *rows])
    return text.getvalue()
