"""Analysis of scores beyond one number: accuracy by class, confused pairs of classes, and calibration.

Everything is computed from stored `Scores`, and carries the number of clips, of missing clips, and the data digest.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.scores import Accuracy, Scores

BINS = 15  # Guo et al., On Calibration of Modern Neural Networks (arXiv 1706.04599), section 2


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy of one class, as shares of its clips; NaN if it has none."""

    label: str
    clips: int
    top1: float
    top5: float


@dataclass(frozen=True)
class Pair:
    """Two confused classes: of the `of` clips of class `label`, `clips` were predicted as `predicted`."""

    label: str
    predicted: str
    clips: int
    of: int


@dataclass(frozen=True)
class Calibration:
    """Confidence (the probability of the predicted class) compared with the share of right predictions.

    Attributes:
        error: expected calibration error: the mean over clips of |confidence - accuracy| of their bin.
        confidence: (bins,) mean confidence in each bin; NaN in an empty bin.
        accuracy: (bins,) share of right predictions in each bin; NaN in an empty bin.
        clips: (bins,) number of clips in each bin.
    """

    error: float
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    clips: tuple[int, ...]


@dataclass(frozen=True)
class Analysis:
    """The analysis of one stream, or of the fusion.

    Attributes:
        name: name of the stream, or `two_stream`.
        accuracy: top-1 and top-5 accuracy, with the number of clips, of missing clips, and the data digest.
        class_mean: top-1 accuracy, averaged over the classes that have clips.
        classes: accuracy of every class.
        confusion: (classes, classes) counts: true class by predicted class.
        pairs: confused classes, the most frequent first.
        calibration: calibration of the probabilities.
    """

    name: str
    accuracy: Accuracy
    class_mean: float
    classes: tuple[ClassAccuracy, ...]
    confusion: NDArray[np.int64]
    pairs: tuple[Pair, ...]
    calibration: Calibration

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON; NaN becomes None."""
        values = {**asdict(self), "confusion": self.confusion.tolist(), "mean": self.accuracy.mean}
        plain: dict[str, Any] = _without_nan(values)
        return plain


def analyse(scores: Scores, name: str, pairs: int = 20) -> Analysis:
    """Analyse one stream, or the fusion.

    Args:
        scores: scores of a split.
        name: name of the stream, or `two_stream`.
        pairs: largest number of confused pairs to list.
    """
    hits, confusion = scores.hits(name), scores.confusion(name)
    classes = class_accuracy(hits, scores.targets, scores.labels)
    return Analysis(
        name=name,
        accuracy=scores.accuracy(name),
        class_mean=float(np.mean([one.top1 for one in classes if one.clips])),
        classes=classes,
        confusion=confusion,
        pairs=hardest_pairs(confusion, scores.labels, pairs),
        calibration=calibration(probabilities(scores.all_logits[name]), scores.targets),
    )


def class_accuracy(
    hits: NDArray[np.bool_], targets: NDArray[np.int64], labels: Sequence[str]
) -> tuple[ClassAccuracy, ...]:
    """Compute the accuracy of each class.

    Args:
        hits: (clips, 5), as returned by `Scores.hits`.
        targets: (clips,) class of each clip.
        labels: class names.
    """
    clips = np.bincount(targets, minlength=len(labels))
    with np.errstate(invalid="ignore"):
        top1, top5 = (np.bincount(targets, right, len(labels)) / clips for right in (hits[:, 0], hits.any(axis=1)))
    return tuple(
        ClassAccuracy(label, int(count), float(one), float(five))
        for label, count, one, five in zip(labels, clips, top1, top5, strict=True)
    )


def hardest_pairs(confusion: NDArray[np.int64], labels: Sequence[str], count: int) -> tuple[Pair, ...]:
    """Return the `count` most frequent confusions; of equal ones, that of the smaller class comes first."""
    of = confusion.sum(axis=1)
    wrong = [(int(n), int(of[i]), i, j) for (i, j), n in np.ndenumerate(confusion) if n and i != j]
    wrong.sort(key=lambda one: (-one[0], *one[1:]))
    return tuple(Pair(labels[i], labels[j], n, total) for n, total, i, j in wrong[:count])


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the softmax over the last axis, in float64."""
    values = logits.astype(np.float64)
    probability: NDArray[np.float64] = np.exp(values - np.logaddexp.reduce(values, axis=-1, keepdims=True))
    return probability


def calibration(probability: NDArray[np.float64], targets: NDArray[np.int64], bins: int = BINS) -> Calibration:
    """Compute the expected calibration error in `bins` equal bins of confidence, (0, 1/bins], ..., (1 - 1/bins, 1].

    Args:
        probability: (clips, classes) probabilities.
        targets: (clips,) class of each clip.
        bins: number of bins.
    """
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == targets
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    clips = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        sure, true = (np.bincount(place, values, bins) / clips for values in (confidence, right))
    error = float(np.nansum(clips * np.abs(sure - true)) / len(targets))
    return Calibration(error, tuple(sure.tolist()), tuple(true.tolist()), tuple(clips.tolist()))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value
