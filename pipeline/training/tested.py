"""A test: trained networks under a protocol, or stored scores fused, into stored scores and an MLflow run.

STORAGE/evaluations/NAME/
scores.parquet  logits of every clip, with what they stand on
rgb.pt, flow.pt the weights of a registered model, where every worker can read them
"""

import datetime
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.clips.index import ClipIndex
from pipeline.clips.protocols import Average, protocol_of
from pipeline.config import Config, to_dict
from pipeline.models.weights import read_weights, save_weights
from pipeline.shards import read_manifest
from pipeline.shards.store import make_folder
from pipeline.tracking.notes import set_note
from pipeline.tracking.runs import Run, artifact_root, tracked_run
from pipeline.training.analysis import Analysis
from pipeline.training.evaluation import evaluate
from pipeline.training.examples import log_clips
from pipeline.training.fusion import fuse
from pipeline.training.notes import tested_note
from pipeline.training.report import log_figures, log_scores
from pipeline.training.scores import Scores, read_scores, write_scores
from pipeline.training.sources import Source


@dataclass(frozen=True)
class Tested:
    """What a test came to.

    Attributes:
        title: what was tested.
        name: of the MLflow run.
        run: the MLflow run.
        path: of the stored scores.
        scores: of every clip.
        analyses: of each stream, and of the fusion last.
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
        config: resolved: that of the source, with other settings of the test where these are wanted.
        source: the networks.

    Raises:
        EvaluationError: the shard set has classes that the networks do not know.
    """
    protocol = protocol_of(config)
    index = ClipIndex.load(config.ingest.shards, config.evaluation.split)
    name, folder = _new(config, f"{source.name}-{protocol.name}")
    weights = {stream: str(path) for stream, path in source.weights.items()}
    if source.labels is not None:  # downloaded to this machine alone
        weights = {stream: named_copy(path, f"{folder}/{stream}.pt", source.labels) for stream, path in weights.items()}
    tags = {"source": source.origin, "model": config.model.name, "protocol": protocol.name}
    with _run(config, name, {**tags, "dataset_digest": index.digest}) as run:
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
    """A copy of weights of the registry, which names their classes also where only the model beside them does."""
    stored = read_weights(path)
    known = stored.provenance if stored.provenance.labels else replace(stored.provenance, labels=labels)
    save_weights(stored.state, known, target)
    return target


def fuse_scores(config: Config, paths: Sequence[str], average: Average, weights: Sequence[float] = ()) -> Tested:
    """Fuse stored scores, without a network or a clip.

    Args:
        config: resolved; its storage and tracking are used.
        paths: of two or more scores files.
        average: of what the fusion is the mean, logits or softmax.
        weights: of each stream; equal where empty.
    """
    scores = fuse([read_scores(path) for path in paths], average, weights)
    name, folder = _new(config, "fusion")
    title = " + ".join(Path(path).parent.name or path for path in paths)
    shares = {f"weight_{stream}": weight for stream, weight in zip(scores.logits, weights, strict=False)}
    tags = {"source": ", ".join(paths), "protocol": scores.protocol, "fusion": average, **shares}
    with _run(config, name, {**tags, "dataset_digest": scores.digest}) as run:
        write_scores(scores, f"{folder}/scores.parquet")
        analyses = log_scores(run, scores)
        set_note(run, tested_note(title, scores, analyses))
        log_figures(run, scores, analyses)
    return Tested(title, name, run, f"{folder}/scores.parquet", scores, analyses)


def _new(config: Config, about: str) -> tuple[str, str]:
    """A name that was never used, and its folder."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', about).strip('.-')}-{stamp}-{secrets.token_hex(2)}"
    folder = f"{config.storage}/evaluations/{name}"
    make_folder(folder)
    return name, folder


def _run(config: Config, name: str, tags: Mapping[str, object]) -> AbstractContextManager[Run]:
    artifacts = artifact_root(config.tracking.uri, config.storage)
    return tracked_run(config.tracking.uri, config.tracking.experiment, name, artifacts=artifacts, tags=tags)
