"""A test of trained networks under a protocol, or a fusion of stored scores; it stores scores and logs an MLflow run.

STORAGE/evaluations/NAME/
scores.parquet   logits of every clip, with split, data digest and protocol
rgb.pt, flow.pt  weights of a registered model, where every worker can read them
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.clips.index import ClipIndex
from pipeline.config import Config, TrackingConfig, to_dict
from pipeline.evaluation.analysis import Analysis
from pipeline.evaluation.example_clips import log_clips
from pipeline.evaluation.fusion import fuse
from pipeline.evaluation.log_analysis import log_figures, log_scores
from pipeline.evaluation.protocols import Average, protocol_of
from pipeline.evaluation.score_clips import evaluate
from pipeline.evaluation.scores import Scores, read_scores, write_scores
from pipeline.models.weights import read_weights, save_weights
from pipeline.registry.descriptions import tested_note
from pipeline.runs.orphans import end_orphans
from pipeline.runs.trained_networks import Source
from pipeline.shards import read_manifest
from pipeline.storage import make_folder
from pipeline.tracking.notes import set_note
from pipeline.tracking.runs import Run, artifact_root, time_stamp, tracked_run


@dataclass(frozen=True)
class Tested:
    """The result of a test.

    Attributes:
        title: what was tested.
        name: name of the MLflow run.
        run: the MLflow run.
        path: path of the stored scores.
        scores: scores of every clip.
        analyses: analyses of each stream and, last, of the fusion.
    """

    title: str
    name: str
    run: Run
    path: str
    scores: Scores
    analyses: dict[str, Analysis]


def score_networks(config: Config, source: Source) -> Tested:
    """Score a split with trained networks.

    Args:
        config: the resolved config of the source, in which the settings of the test may be changed.
        source: the networks.

    Raises:
        EvaluationError: the networks do not fit the config or the shard set, for example in their classes.
    """
    protocol = protocol_of(config.evaluation, config.model)
    index = ClipIndex.load(config.ingest.shards, config.evaluation.split)
    name, folder = _new(config.storage, f"{source.name}-{protocol.name}")
    weights = {stream: str(path) for stream, path in source.weights.items()}
    if source.labels is not None:  # such weights were downloaded to this machine only
        weights = {stream: named_copy(path, f"{folder}/{stream}.pt", source.labels) for stream, path in weights.items()}
    tags = {"source": source.origin, "model": config.model.name, "protocol": protocol.name}
    with _run(config.storage, config.tracking, name, {**tags, "dataset_digest": index.digest}) as run:
        run.log_config(to_dict(config))
        run.log_shards(config.ingest.shards, read_manifest(config.ingest.shards), {index.split: "testing"})
        scores = evaluate(config, weights, index.split)
        write_scores(scores, f"{folder}/scores.parquet")
        analyses = log_scores(run, scores)
        set_note(run, tested_note(source.origin, scores, analyses))
        log_figures(run, scores, analyses)
        log_clips(run, config, weights, scores, index)
    return Tested(source.origin, name, run, f"{folder}/scores.parquet", scores, analyses)


def named_copy(path: str, target: str, labels: tuple[str, ...]) -> str:
    """Copy weights of a registered model to `target`; add the class names if the weights do not have them."""
    stored = read_weights(path)
    known = stored.provenance if stored.provenance.labels else replace(stored.provenance, labels=labels)
    save_weights(stored.state, known, target)
    return target


def fuse_scores(
    storage: str, tracking: TrackingConfig, paths: Sequence[str], average: Average, weights: Sequence[float] = ()
) -> Tested:
    """Fuse stored scores, without a network or a clip.

    Args:
        storage: folder or URI of the storage.
        tracking: server and experiment of MLflow.
        paths: paths of two or more scores files.
        average: what the fusion averages: logits or softmax.
        weights: weight of each stream; empty for equal weights.
    """
    scores = fuse([read_scores(path) for path in paths], average, weights)
    name, folder = _new(storage, "fusion")
    title = " + ".join(Path(path).parent.name or path for path in paths)
    shares = {f"weight_{stream}": weight for stream, weight in zip(scores.logits, weights, strict=False)}
    tags = {"source": ", ".join(paths), "protocol": scores.protocol, "fusion": average, **shares}
    with _run(storage, tracking, name, {**tags, "dataset_digest": scores.digest}) as run:
        write_scores(scores, f"{folder}/scores.parquet")
        analyses = log_scores(run, scores)
        set_note(run, tested_note(title, scores, analyses))
        log_figures(run, scores, analyses)
    return Tested(title, name, run, f"{folder}/scores.parquet", scores, analyses)


def _new(storage: str, about: str) -> tuple[str, str]:
    """Create the folder of a test with an unused name; return the name and the folder."""
    stamp = time_stamp()
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', about).strip('.-')}-{stamp}-{secrets.token_hex(2)}"
    folder = f"{storage}/evaluations/{name}"
    make_folder(folder)
    return name, folder


def _run(storage: str, tracking: TrackingConfig, name: str, tags: Mapping[str, object]) -> AbstractContextManager[Run]:
    end_orphans(storage, tracking.uri)
    artifacts = artifact_root(tracking.uri, storage)
    return tracked_run(tracking.uri, tracking.experiment, name, artifacts=artifacts, tags=tags)
