"""Single clips of a test as small animated pictures, logged to its MLflow run."""

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
from pipeline.evaluation.scores import Scores
from pipeline.figures.animations import animate, flow_pictures
from pipeline.figures.overlays import Row, attention_animation
from pipeline.networks import load_network
from pipeline.progress import Progress
from pipeline.table import csv_text
from pipeline.tracking.decoration import may_fail
from pipeline.tracking.runs import Run


def log_clips(run: Run, config: Config, weights: Mapping[str, str], scores: Scores, index: ClipIndex) -> None:
    """Log clips that were taken for others, and where the networks look in these and in some that they get right.

    Args:
        run: to log to.
        config: resolved; under it the scores came about.
        weights: state dict of each network.
        scores: the scores of the split of `index`.
        index: where the clips are.
    """
    name = list(scores.all_logits)[-1]
    with may_fail(run, "misclassified/"):
        log_misclassified(run, scores, name, index, config.ingest.flow.bound)
    with may_fail(run, "attention/"):
        log_attention(run, config, weights, scores, name, index)


def surest(scores: Scores, name: str, right: bool, count: int) -> list[int]:
    """The clips of which the network, or the fusion, was surest: right or wrong, of each class taken at most one.

    Of fewer classes than `count` the next of each follow.
    """
    probability = probabilities(scores.all_logits[name])
    predicted = probability.argmax(axis=1)
    order = [int(i) for i in np.argsort(-probability.max(axis=1), kind="stable")]
    turn: dict[int, int] = {}  # how many of its class come before a clip
    turns = {}
    for i in order:
        if (predicted[i] == scores.targets[i]) == right:
            turns[i] = turn[predicted[i]] = turn.get(predicted[i], -1) + 1
    return sorted(turns, key=lambda i: turns[i])[:count]


def log_misclassified(run: Run, scores: Scores, name: str, index: ClipIndex, bound: float, count: int = 8) -> int:
    """Log the clips of which the network was surest and wrong, as small animated pictures.

    Args:
        run: to log to.
        scores: the scores of the split of `index`.
        name: the name of the stream, or `two_stream`.
        index: where the clips are; flow is shown beside the frames where it is stored.
        bound: the bound of the stored flow, in pixels.
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
    progress = Progress("pictures of wrong answers:", len(worst), last_line=False)
    for number, i in enumerate(worst, start=1):
        picture = f"misclassified/{number:02}.gif"  # no name from the data set chooses a path
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
    """Log where the networks look, in clips that they got right and in clips that they got wrong, half of each.

    Args:
        run: to log to.
        config: resolved; under it the scores came about.
        weights: state dict of each network.
        scores: the scores of the split of `index`.
        name: the name of the stream, or `two_stream`, whose answers are right or wrong.
        index: where the clips are.
        count: how many clips at most.

    Returns:
        How many there are.
    """
    wrong = surest(scores, name, right=False, count=count // 2)
    chosen = wrong + surest(scores, name, right=True, count=count - len(wrong))
    if use_gpu(config.resources):  # the driver has none
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
    """Animated pictures of clips, each under the maps of the class that was said and, where another, the true one."""
    gpu = use_gpu(config.resources)
    networks = {
        stream: load_network(config.model, stream, len(scores.labels), path, scores.labels).to("cuda" if gpu else "cpu")
        for stream, path in weights.items()
    }
    rows = {clip: row for row, clip in enumerate(index.clip_ids.tolist())}
    probability = {stream: probabilities(logits[chosen]) for stream, logits in scores.all_logits.items()}
    drawn = []
    progress = Progress("pictures of where the networks look:", len(chosen))
    for number, i in enumerate(chosen):
        target, said = int(scores.targets[i]), int(scores.all_logits[name][i].argmax())
        classes, shown = list(dict.fromkeys([said, target])), []
        for network, loaded in networks.items():
            own = probability[network][number]
            for seen in attention(config, network, loaded, index, rows[str(scores.clip_ids[i])], classes):
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
    """The same in a process of Ray's."""
    quiet_worker(label)
    return attention_pictures(*given)
