"""Exact evaluation: a Ray Data job on any number of workers scores every view of every clip once.

A task decodes a clip once and sends its cropped frames to an actor. The actor cuts the protocol's views from them,
scores a few views at a time and averages the scores. All views of a clip are in one place, so the result depends
neither on the number of workers nor on the batch size, and memory holds the frames of a batch, not its views.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from pipeline.clips.decoding import Decoder
from pipeline.clips.index import ClipIndex
from pipeline.clips.order import view_batches
from pipeline.clips.ray_batches import decoded
from pipeline.cluster import definite, use_gpu
from pipeline.config import Config, ModelConfig
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.scores import FUSED, Accuracy, Scores
from pipeline.evaluation.scoring import score_views
from pipeline.evaluation.views import ViewSampler
from pipeline.models.weights import Weights, WeightsError, read_weights
from pipeline.networks import build_network, load_network
from pipeline.progress import Progress
from pipeline.shards import read_manifest
from pipeline.shards.splits import counts_of
from pipeline.training.classes import other_classes
from pipeline.training.precision import threads
from pipeline.training.provenance import other_input, provenance_of

__all__ = ["FUSED", "Accuracy", "EvaluationError", "Scorer", "Scores", "evaluate"]


class EvaluationError(RuntimeError):
    """Clips were lost, counted twice or not scored, or the weights do not fit; the accuracy would be wrong."""


def inputs(network: str) -> tuple[str, ...]:
    """Return the streams that a network takes: both, or the one it is named after."""
    return ("rgb", "flow") if network == FUSED else (network,)


class Scorer:
    """A Ray Data actor that holds the networks of all streams in one process.

    Args:
        config: a resolved config.
        weights: path of each network's state dict.
        lengths: for each stream, the number of frames of every clip, (clips,).
        gpu: whether to compute on a GPU.
        labels: class names in the order of the scores.
    """

    def __init__(
        self,
        config: Config,
        weights: Mapping[str, str],
        lengths: Mapping[str, NDArray[np.int32]],
        gpu: bool,
        labels: Sequence[str],
    ) -> None:
        self.lengths = lengths
        self.sample = ViewSampler(config.clips, protocol_of(config.evaluation, config.model))
        self.batch_size = config.evaluation.batch_size
        self.device = torch.device("cuda" if gpu else "cpu")
        if not gpu:
            torch.set_num_threads(threads(config.resources))
        self.networks = {
            name: load_network(config.model, name, len(labels), path, labels).to(self.device)
            for name, path in weights.items()
        }

    def __call__(self, batch: dict[str, NDArray]) -> dict[str, NDArray]:
        """Replace the frames of each clip, (N, crops, shown, H, W, C) uint8, by its scores, (N, classes) float32."""
        scored, first = {"rows": batch["rows"]}, int(batch["rows"][0])
        for name, network in self.networks.items():
            places = {  # these are the same for all clips of the batch
                stream: self.sample.views(int(self.lengths[stream][first]), stream)[1] for stream in inputs(name)
            }
            frames = {stream: batch[stream] for stream in places}
            average = self.sample.protocol.average
            scored[name] = score_views(network, frames, places, average, self.batch_size, self.device)
        return scored


def evaluate(config: Config, weights: Mapping[str, str], split: str) -> Scores:
    """Score every clip of a split under the config's test protocol.

    Classes are compared by name (see `compared`), and notes on the comparison are printed.

    Args:
        config: a resolved config; its shard set, clip size, protocol and resources are used.
        weights: path of each network's state dict, in a file that all workers can read.
        split: the split to score.

    Raises:
        EvaluationError: the weights do not fit or are of other classes, a clip came back never or twice, or its scores
            are not finite.
    """
    config = definite(config)
    index, protocol = ClipIndex.load(config.ingest.shards, split), protocol_of(config.evaluation, config.model)
    streams = tuple(dict.fromkeys(stream for name in weights for stream in inputs(name)))
    for stream in streams:
        if empty := int((index.length(stream) == 0).sum()):
            raise EvaluationError(f"{config.ingest.shards}: {empty} clips of {split!r} have no {stream}")
    labels, notes = compared(config, weights, index)
    for note in notes:
        print(note, flush=True)
    sample, gpu = ViewSampler(config.clips, protocol), use_gpu(config.resources)
    batches = view_batches(*sample.groups(index, streams), config.evaluation.batch_size)
    scored = decoded(
        Decoder(index.stored(streams), streams, sample), batches, config.resources.cpus_of_a_loader
    ).map_batches(
        Scorer,
        fn_constructor_args=(config, dict(weights), {name: index.length(name) for name in streams}, gpu, labels),
        batch_size=None,  # a block is one batch, of clips whose views have the same places
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.resources.number_of_workers),
        num_cpus=config.resources.cpus_of_a_worker,
        num_gpus=1 if gpu else 0,
    )
    logits = {name: np.full((len(index), len(labels)), np.nan, np.float32) for name in weights}
    seen = np.zeros(len(index), np.int64)
    progress = Progress(f"test of {' and '.join(weights)}:", len(index), every_s=config.tracking.every_s)
    for batch in scored.iter_batches(batch_size=None, batch_format="numpy"):
        np.add.at(seen, batch["rows"], 1)
        progress.advance(len(batch["rows"]))
        for name in weights:
            logits[name][batch["rows"]] = batch[name]
    if (seen != 1).any():
        raise EvaluationError(f"{split}: {(seen == 0).sum()} clips lost, {(seen > 1).sum()} counted twice")
    for name, values in logits.items():
        if odd := int((~np.isfinite(values)).any(axis=1).sum()):
            raise EvaluationError(f"{split}: {name} scores of {odd} clips are not finite; its weights have diverged")
    counts = counts_of(read_manifest(config.ingest.shards), split)
    known = index.label >= 0
    return Scores(
        split=split,
        digest=index.digest,
        missing=counts["expected"] - counts["present"],
        labels=labels,
        clip_ids=index.clip_ids[known],
        targets=index.label[known],
        logits={name: values[known] for name, values in logits.items()},
        protocol=str(protocol),
        average=protocol.average,
    )


def compared(config: Config, weights: Mapping[str, str], index: ClipIndex) -> tuple[tuple[str, ...], list[str]]:
    """Compare networks with the data on which they are to be tested.

    Networks may know more classes than the data has, such as networks of Kinetics with clips of a few of its classes; a
    clip that is predicted as one of the other classes then counts as wrong. Of weights that do not name their classes
    only the number of classes is compared.

    Args:
        config: a resolved config.
        weights: path of each network's state dict.
        index: clips of one split.

    Returns:
        The class names in the order of the scores, those of the data first; and notes for the user.

    Raises:
        EvaluationError: the weights are not those of the network, are of other classes, or expect other RGB levels; or
            no clip has a label.
    """
    manifest, wanted, notes = read_manifest(index.shards), index.labels, dict[str, list[str]]()
    if not (index.label >= 0).any():
        raise EvaluationError(f"{index.shards}: no clip of {index.split!r} has a label; there is nothing to compare")
    stored = {name: _read(path) for name, path in weights.items()}
    named = [one.provenance.labels for one in stored.values() if one.provenance.labels]
    labels = (*wanted, *sorted(set(named[0]) - set(wanted))) if named else wanted
    for name, one in stored.items():
        known, here = one.provenance, provenance_of(config, name, manifest)
        if not known.labels:
            says = [f"does not name its classes; its {len(labels)} are compared by number with those of {index.shards}"]
        elif known.rows(labels) is None:
            raise EvaluationError(f"{weights[name]}: {other_classes(known.labels, wanted)}, {index.shards}")
        elif len(labels) > len(wanted):
            says = [
                f"knows {len(labels)} classes, of which {index.shards} has {len(wanted)}; a clip that is taken for one "
                "of the others counts as wrong"
            ]
        else:
            moved = "has its classes in another order; scores are put in that of the data"
            says = [moved] if known.labels != wanted else []
        _check_input(weights[name], known.input, here.input)
        if differs := other_input(known.input, here.input):
            says.append(f"expects other input: {differs}")
        for note in says:
            notes.setdefault(note, []).append(name)
        _check_fit(config.model, name, len(labels), weights[name], one)
    return labels, [f"{', '.join(names)}: {note}" for note, names in notes.items()]


def _read(path: str) -> Weights:
    try:
        return read_weights(path)
    except WeightsError as error:
        raise EvaluationError(str(error)) from None


def _check_input(path: str, expected: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    one, other = expected.get("levels"), given.get("levels")
    if None not in (one, other) and one != other:
        raise EvaluationError(f"{path}: expects model.levels {one}, not {other}; give --model.levels {one}")


def _check_fit(model: ModelConfig, name: str, num_classes: int, path: str, stored: Weights) -> None:
    """Check before workers start that a state dict fits the network."""
    with torch.device("meta"):  # without memory for weights
        network = build_network(model, name, num_classes)
    try:
        network.load_state_dict(stored.state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1].split()) if "\n" in str(error) else str(error)
        raise EvaluationError(
            f"{path}: not the weights of {model.name} on {name} with {num_classes} classes: {reason[:200]}"
        ) from None
