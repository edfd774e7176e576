"""Exact evaluation: every view of every clip is scored once, in a Ray Data job on any number of workers.

A task decodes a clip once and hands its frames to an actor, which cuts the protocol's views from them, scores them a
few at a time and averages them: all views of a clip are in one place, so that the result depends neither on the number
of workers nor on the size of a batch, and memory holds a batch's frames, not its views.
"""

from collections.abc import Mapping

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from pipeline.clips.dataset import decoded
from pipeline.clips.decoding import Decoder
from pipeline.clips.index import ClipIndex
from pipeline.clips.order import view_batches
from pipeline.clips.protocols import protocol_of
from pipeline.clips.views import ViewSampler
from pipeline.cluster import use_gpu
from pipeline.config import Config
from pipeline.networks import build_network, load_network
from pipeline.scoring import score_views
from pipeline.shards import read_manifest
from pipeline.training.compute import threads
from pipeline.training.scores import FUSED, Accuracy, Scores

__all__ = ["FUSED", "Accuracy", "EvaluationError", "Scorer", "Scores", "evaluate"]


class EvaluationError(RuntimeError):
    """Clips were lost, counted twice or not scored: the numbers would be wrong, so there are none."""


def inputs(network: str) -> tuple[str, ...]:
    """The streams that a network sees: both, or the one that it is named after."""
    return ("rgb", "flow") if network == FUSED else (network,)


class Scorer:
    """The networks of all streams in one process; a Ray Data actor."""

    def __init__(self, config: Config, weights: Mapping[str, str], split: str, gpu: bool) -> None:
        self.index = ClipIndex.load(config.ingest.shards, split)
        self.sample, self.batch_size = ViewSampler(config.clips, protocol_of(config)), config.evaluation.batch_size
        self.device = torch.device("cuda" if gpu else "cpu")
        if not gpu:
            torch.set_num_threads(threads(config.resources))
        self.networks = {
            name: load_network(config.model, name, len(self.index.labels), path).to(self.device)
            for name, path in weights.items()
        }

    def __call__(self, batch: dict[str, NDArray]) -> dict[str, NDArray]:
        """Replace the frames of each clip, (N, crops, shown, H, W, C) uint8, by its scores, (N, classes) float32."""
        scored, first = {"rows": batch["rows"]}, int(batch["rows"][0])
        for name, network in self.networks.items():
            places = {  # the same for all clips of the batch
                stream: self.sample.views(int(self.index.length(stream)[first]), stream)[1] for stream in inputs(name)
            }
            frames = {stream: batch[stream] for stream in places}
            average = self.sample.protocol.average
            scored[name] = score_views(network, frames, places, average, self.batch_size, self.device)
        return scored


def evaluate(config: Config, weights: Mapping[str, str], split: str) -> Scores:
    """Score every clip of a split under the config's test protocol.

    Args:
        config: resolved; its shard set, clip size, protocol and resources are used.
        weights: state dict of each stream, in a file that all workers can read.
        split: which clips.

    Raises:
        EvaluationError: weights do not fit; a clip did not come back, came back twice, or without finite scores.
    """
    index, protocol = ClipIndex.load(config.ingest.shards, split), protocol_of(config)
    streams = tuple(dict.fromkeys(stream for name in weights for stream in inputs(name)))
    for stream in streams:
        if empty := int((index.length(stream) == 0).sum()):
            raise EvaluationError(f"{config.ingest.shards}: {empty} clips of {split!r} have no {stream}")
    for name, path in weights.items():
        check_weights(config, name, len(index.labels), path)
    sample, gpu = ViewSampler(config.clips, protocol), use_gpu(config)
    batches = view_batches(*sample.groups(index, streams), config.evaluation.batch_size)
    scored = decoded(Decoder(index, streams, sample), batches, config.resources.cpus_of_a_loader).map_batches(
        Scorer,
        fn_constructor_args=(config, dict(weights), split, gpu),
        batch_size=None,  # a block is a batch of clips whose views have the same places
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.resources.number_of_workers),
        num_cpus=config.resources.cpus_of_a_worker,
        num_gpus=1 if gpu else 0,
    )
    logits = {name: np.full((len(index), len(index.labels)), np.nan, np.float32) for name in weights}
    seen = np.zeros(len(index), np.int64)
    for batch in scored.iter_batches(batch_size=None, batch_format="numpy"):
        np.add.at(seen, batch["rows"], 1)
        for name in weights:
            logits[name][batch["rows"]] = batch[name]
    if (seen != 1).any():
        raise EvaluationError(f"{split}: {(seen == 0).sum()} clips lost, {(seen > 1).sum()} counted twice")
    for name, values in logits.items():
        if odd := int((~np.isfinite(values)).any(axis=1).sum()):
            raise EvaluationError(f"{split}: {name} scores of {odd} clips are not finite; its weights have diverged")
    counts = read_manifest(config.ingest.shards)["splits"][split]
    known = index.label >= 0
    return Scores(
        split=split,
        digest=index.digest,
        missing=counts["expected"] - counts["present"],
        labels=index.labels,
        clip_ids=index.clip_ids[known],
        targets=index.label[known],
        logits={name: values[known] for name, values in logits.items()},
        protocol=str(protocol),
        average=protocol.average,
    )


def check_weights(config: Config, name: str, num_classes: int, path: str) -> None:
    """See that a state dict is that of the network, before workers start.

    Raises:
        EvaluationError: it is not, naming the first difference.
    """
    with torch.device("meta"):  # built without weights
        network = build_network(config.model, name, num_classes)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True), assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1].split()) if "\n" in str(error) else str(error)
        raise EvaluationError(
            f"{path}: not the weights of {config.model.name} on {name} with {num_classes} classes: {reason[:200]}"
        ) from None
