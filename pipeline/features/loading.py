"""Networks with their weights: of a registered model, a run or a checkpoint, or of a published file."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from pipeline.clips.streams import CHANNELS
from pipeline.config import ClipsConfig, ConfigError, ModelConfig
from pipeline.features.layers import LOGITS, PROBABILITIES, LayerError, layer_shapes, least_frames
from pipeline.features.windows import Windows
from pipeline.models import WeightsError, load_published
from pipeline.models.published import classes_in
from pipeline.networks import build_network, load_network, network_inputs
from pipeline.runs.trained_networks import Source
from pipeline.training.initial_weights import known_provenance, weights_in, with_published

Clip = tuple[int, int, int, int]


@dataclass(frozen=True)
class Loaded:
    """Networks that are ready to compute features.

    Attributes:
        model: the config of the networks.
        networks: networks by name, in evaluation mode, on the CPU.
        inputs: streams that each network takes.
        labels: names of the classes in the order of the logits; empty if nobody has named them.
        origin: where the weights come from.
        digest: digest of all weights.
        classified: whether the classifiers are from the weights too.
        notes: what a user should know of the weights.
    """

    model: ModelConfig
    networks: Mapping[str, nn.Module]
    inputs: Mapping[str, tuple[str, ...]]
    labels: tuple[str, ...]
    origin: str
    digest: str
    classified: bool = True
    notes: tuple[str, ...] = ()

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that the networks take, RGB first."""
        taken = {stream for inputs in self.inputs.values() for stream in inputs}
        return tuple(stream for stream in ("rgb", "flow") if stream in taken)

    @cached_property
    def _known(self) -> dict[tuple[str, tuple[tuple[str, Clip], ...]], dict[str, tuple[int, ...]]]:
        """Shapes that were asked for before."""
        return {}

    def clips(self, name: str, frames: int, clips: ClipsConfig) -> dict[str, Clip]:
        """Return the shape, (C, T, H, W), of each input of a network for a window of so many frames."""
        both = len(self.inputs[name]) > 1
        lengths = {"rgb": max(1, frames // clips.rgb_every) if both else frames, "flow": frames}
        sides = clips.crop, clips.crop
        return {stream: (CHANNELS[stream], lengths[stream], *sides) for stream in self.inputs[name]}

    def shapes(self, windows: Windows, clips: ClipsConfig) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return the shape of each layer's output for a window, for each network.

        Raises:
            LayerError: a network cannot take such windows; the message has the least number of frames that it takes.
        """
        return {name: self._shapes(name, windows, clips) for name in self.networks}

    def check(self, layers: Sequence[str]) -> None:
        """Check that the networks have a classifier if its output is wanted.

        Raises:
            LayerError: the weights have no classifier.
        """
        if not self.classified and {LOGITS, PROBABILITIES} & set(layers):
            raise LayerError(f"--layers: the weights {self.origin} have no classifier, so there are no logits")

    def _shapes(self, name: str, windows: Windows, clips: ClipsConfig) -> dict[str, tuple[int, ...]]:
        network, wanted = self.networks[name], self.clips(name, windows.frames, clips)
        key = name, tuple(wanted.items())
        try:
            if key not in self._known:
                self._known[key] = layer_shapes(network, wanted)
            return self._known[key]
        except LayerError as error:
            least = least_frames(network, wanted)
            hint = f"give --frames {least} or more" if least and least > windows.frames else "see --clips.crop"
            says = f"--frames {windows.frames}: {self.model.name} cannot take such windows: {error}; {hint}"
            raise LayerError(says) from None


def load_trained(source: Source) -> Loaded:
    """Load networks that this package has trained.

    Raises:
        WeightsError: a file cannot be read, or does not fit its network.
    """
    model, networks = source.config.model, {}
    labels = source.labels or ()
    for name, path in source.weights.items():
        stored = known_provenance(str(path))
        labels = labels or stored.labels
        classes = classes_in(_on_meta(model, name), path)
        networks[name] = load_network(model, name, classes or len(labels) or 1, path, labels)
    inputs = {name: inputs for name, inputs in network_inputs(model).items() if name in networks}
    return _loaded(model, networks, inputs, tuple(labels), source.origin)


def load_named(model: ModelConfig) -> Loaded:
    """Load the networks whose weights `model.weights` names: published files, or files that this package wrote.

    Raises:
        ConfigError: no weights are named, they cannot be found or read, or they are of another network.
    """
    if not model.weights:
        raise ConfigError(
            "no network: give --model URI, --run NAME or --checkpoint FOLDER, or --model.name NAME and "
            "--model.weights.rgb FILE (or flow)"
        )
    model = with_published(model)
    networks, notes, labels, classified = {}, list[str](), tuple[str, ...](), True
    inputs = {name: taken for name, taken in network_inputs(model).items() if name in model.weights}
    if missing := set(model.weights) - set(inputs):
        raise ConfigError(f"--model.weights.{min(missing)}: {model.name} is given no such stream; see --model.streams")
    for name in inputs:
        path = weights_in(model.weights[name], name)
        try:
            known = known_provenance(path)
            if known.model not in ("", model.name):
                raise ConfigError(
                    f"--model.weights.{name}: {path} is of {known.model}; give --model.name {known.model}"
                )
            classes = classes_in(_on_meta(model, name), path)
            network = build_network(model, name, classes or 1)
            report = load_published(network, path, replace_classifier=classes is None)
        except (WeightsError, ValueError) as error:
            raise ConfigError(f"--model.weights.{name}: {' '.join(str(error).split())}") from None
        labels = labels or known.labels
        notes.append(report.summary)
        classified = classified and classes is not None
        networks[name] = network.eval()
    return _loaded(model, networks, inputs, labels, ", ".join(model.weights.values()), classified, tuple(notes))


def read_labels(file: Path, classes: int) -> tuple[str, ...]:
    """Return the names of classes from a file, one a line in the order of the logits.

    Raises:
        ConfigError: the file cannot be read, or has another number of lines than there are classes.
    """
    try:
        labels = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--labels {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if len(labels) != classes:
        raise ConfigError(f"--labels {file}: {len(labels)} names for {classes} classes")
    return labels


def _on_meta(model: ModelConfig, name: str) -> nn.Module:
    """Build a network without values, in no time."""
    with torch.device("meta"):
        return build_network(model, name, 1)


def _loaded(
    model: ModelConfig,
    networks: Mapping[str, nn.Module],
    inputs: Mapping[str, tuple[str, ...]],
    labels: tuple[str, ...],
    origin: str,
    classified: bool = True,
    notes: tuple[str, ...] = (),
) -> Loaded:
    total = hashlib.sha256()
    for name, network in sorted(networks.items()):
        for entry, value in sorted(network.state_dict().items()):
            total.update(f"{name}.{entry} {tuple(value.shape)}".encode())
            total.update(value.detach().contiguous().numpy().tobytes())
    return Loaded(model, networks, inputs, labels, origin, total.hexdigest()[:16], classified, notes)
