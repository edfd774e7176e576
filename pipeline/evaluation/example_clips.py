"""Single clips of a test as small animations, logged to its MLflow run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from pipeline import console
from pipeline.clips.index import ClipIndex
from pipeline.clips.sampling import DECODE
from pipeline.clips.windows import whole_clip
from pipeline.cluster import quiet_worker, use_gpu
from pipeline.config import Config
from pipeline.evaluation.analysis import probabilities
from pipeline.evaluation.class_activation import attention
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.scores import Scores
from pipeline.evaluation.views import ViewSampler
from pipeline.figures.animations import animate, flow_pictures
from pipeline.figures.overlays import Row, attention_animation
from pipeline.networks import load_network
from pipeline.progress import Progress
from pipeline.table import csv_text
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.runs import Run


def log_clips(run: Run, config: Config, weights: Mapping[str, str], scores: Scores, index: ClipIndex) -> None:
    """Log misclassified clips, and where the networks look in some misclassified and some correctly classified clips.

    Args:
        run: the MLflow run to log to.
        config: the resolved config with which the scores were computed.
        weights: path of each network's state dict.
        scores: scores of the split of `index`.
        index: clips of one split.
    """
    name = list(scores.all_logits)[-1]
    with may_fail(run, "misclassified/"):
        log_misclassified(run, scores, name, index, config.ingest.flow.bound)
    with may_fail(run, "attention/"):
        log_attention(run, config, weights, scores, name, index)


def surest(scores: Scores, name: str, right: bool, count: int) -> list[int]:
    """Return the rows in `scores` of right or of wrong predictions with the highest confidence.

    At first at most one clip of each predicted class is taken; if that gives fewer than `count` clips, the next clip of
    each class follows, and so on.

    Args:
        scores: scores of a split.
        name: name of the stream, or `two_stream`.
        right: whether to return right predictions, instead of wrong ones.
        count: largest number of clips.
    """
    probability = probabilities(scores.all_logits[name])
    predicted = probability.argmax(axis=1)
    order = [int(i) for i in np.argsort(-probability.max(axis=1), kind="stable")]
    turn: dict[int, int] = {}  # number of clips of the predicted class so far, minus one
    turns = {}
    for i in order:
        if (predicted[i] == scores.targets[i]) == right:
            turns[i] = turn[predicted[i]] = turn.get(predicted[i], -1) + 1
    return sorted(turns, key=lambda i: turns[i])[:count]


def log_misclassified(run: Run, scores: Scores, name: str, index: ClipIndex, bound: float, count: int = 8) -> int:
    """Log the wrong predictions with the highest confidence, as small animations.

    Args:
        run: the MLflow run to log to.
        scores: scores of the split of `index`.
        name: name of the stream, or `two_stream`.
        index: clips of one split; stored flow is shown beside the frames.
        bound: bound of the stored flow, in pixels.
        count: largest number of clips.

    Returns:
        The number of clips logged.
    """
    probability = probabilities(scores.all_logits[name])
    predicted, confidence = probability.argmax(axis=1), probability.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    worst = [int(i) for i in order if predicted[i] != scores.targets[i]][:count]
    rows = {clip: row for row, clip in enumerate(index.clip_ids.tolist())}
    listed = []
    progress = Progress("pictures of wrong answers:", len(worst), last_line=False)
    for number, i in enumerate(worst, start=1):
        picture = f"misclassified/{number:02}.gif"  # names from the data set are not used in paths
        row = rows[str(scores.clip_ids[i])]
        stride = max(1, -(-int(index.num_frames[row]) // 32))
        with may_fail(run, picture):
            frames = DECODE["rgb"](index.blob(row, "rgb"), whole_clip(int(index.num_frames[row]), stride))
            flow = None
            if index.num_flow[row]:
                flow = DECODE["flow"](index.blob(row, "flow"), whole_clip(int(index.num_flow[row]), stride))
            run.log_bytes(picture, animate(frames, flow, bound))
        label, taken = scores.labels[scores.targets[i]], scores.labels[predicted[i]]
        listed.append((picture, scores.clip_ids[i], label, taken, f"{confidence[i]:.4f}"))
        progress.advance()
    run.log_text(
        "misclassified/clips.csv", csv_text([["picture", "clip_id", "label", "predicted", "confidence"], *listed])
    )
    return len(listed)


def log_attention(
    run: Run, config: Config, weights: Mapping[str, str], scores: Scores, name: str, index: ClipIndex, count: int = 8
) -> int:
    """Log where the networks look, half in clips that were predicted right and half in clips predicted wrong.

    If there are too few wrong predictions, more right ones are logged.

    Args:
        run: the MLflow run to log to.
        config: the resolved config with which the scores were computed.
        weights: path of each network's state dict.
        scores: scores of the split of `index`.
        name: the stream, or `two_stream`, whose predictions count.
        index: clips of one split.
        count: largest number of clips.

    Returns:
        The number of clips logged.
    """
    wrong = surest(scores, name, right=False, count=count // 2)
    chosen = wrong + surest(scores, name, right=True, count=count - len(wrong))
    if use_gpu(config.resources):  # the driver has no GPU
        draw = ray.remote(num_gpus=1, num_cpus=config.resources.cpus_of_a_worker)(_forwarding_pictures)
        pictures = ray.get(draw.remote(console.label(), config, dict(weights), scores, name, index, chosen))
    else:
        pictures = attention_pictures(config, weights, scores, name, index, chosen)
    predicted = scores.all_logits[name].argmax(axis=1)
    listed = []
    for number, (i, picture) in enumerate(zip(chosen, pictures, strict=True), start=1):
        path = f"attention/{number:02}_{'right' if predicted[i] == scores.targets[i] else 'wrong'}.gif"
        run.log_bytes(path, picture)
        listed.append((path, scores.clip_ids[i], scores.labels[scores.targets[i]], scores.labels[predicted[i]]))
    run.log_text("attention/clips.csv", csv_text([["picture", "clip_id", "label", "predicted"], *listed]))
    return len(listed)


def attention_pictures(
    config: Config, weights: Mapping[str, str], scores: Scores, name: str, index: ClipIndex, chosen: Sequence[int]
) -> list[bytes]:
    """Draw animations of clips with the maps of the predicted class and, if it is another, of the true class."""
    gpu = use_gpu(config.resources)
    networks = {
        stream: load_network(config.model, stream, len(scores.labels), path, scores.labels).to("cuda" if gpu else "cpu")
        for stream, path in weights.items()
    }
    sample, size = ViewSampler(config.clips, protocol_of(config.evaluation, config.model)), config.evaluation.batch_size
    rows = {clip: row for row, clip in enumerate(index.clip_ids.tolist())}
    probability = {stream: probabilities(logits[chosen]) for stream, logits in scores.all_logits.items()}
    drawn = []
    progress = Progress("pictures of where the networks look:", len(chosen))
    for number, i in enumerate(chosen):
        target, said = int(scores.targets[i]), int(scores.all_logits[name][i].argmax())
        classes, shown = list(dict.fromkeys([said, target])), []
        row = rows[str(scores.clip_ids[i])]
        for network, loaded in networks.items():
            own = probability[network][number]
            for seen in attention(network, loaded, sample, index, row, classes, size):
                frames = seen.frames if seen.stream == "rgb" else flow_pictures(seen.frames, config.ingest.flow.bound)
                about = f"{seen.stream}: {scores.labels[own.argmax()]} {100 * own.max():.0f} %   (map of {seen.layer})"
                shown.append(Row(about, frames, seen.maps))
        verdict = "right" if said == target else f"wrong, is {scores.labels[target]}"
        sure = 100 * probability[name][number][said]
        title = [f"{name.replace('_', '-')}: {scores.labels[said]} {sure:.0f} %: {verdict}", str(scores.clip_ids[i])]
        drawn.append(attention_animation(title, shown, [scores.labels[one] for one in classes]))
        progress.advance()
    return drawn


def _forwarding_pictures(label: str, *given: Any) -> list[bytes]:
    """Call `attention_pictures` in a Ray worker process, whose messages are forwarded to the driver's screen."""
    quiet_worker(label)
    return attention_pictures(*given)
