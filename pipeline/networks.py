"""Building the networks that the config names: one per stream, or one that takes both streams."""

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from pipeline.clips.streams import CHANNELS
from pipeline.config import ConfigError, ModelConfig
from pipeline.models import create_model, list_models
from pipeline.models.weights import WeightsError, in_rows, read_weights

BOTH = "two_stream"  # name of a network that takes RGB and flow at once
# RGB from -1 to 1 becomes x * scale + offset, for each channel.
_ACTIVITYNET_MEAN = (114.7748, 107.7354, 99.4750)  # 3D-ResNets-PyTorch, branch CVPR2018, mean.py; levels 0 to 255
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision; levels 0 to 1
_KINETICS_MEAN, _KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # torchvision's video nets
LEVELS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "activitynet": ((127.5,) * 3, tuple(127.5 - mean for mean in _ACTIVITYNET_MEAN)),
    "imagenet": (
        tuple(0.5 / std for std in _IMAGENET_STD),
        tuple((0.5 - mean) / std for mean, std in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)),
    ),
    "kinetics": (
        tuple(0.5 / std for std in _KINETICS_STD),
        tuple((0.5 - mean) / std for mean, std in zip(_KINETICS_MEAN, _KINETICS_STD, strict=True)),
    ),
}


def network_inputs(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Return the names of the networks to train, each with the streams that its `forward` takes.

    There is one network per stream, except that Two-Stream and 3D-Fused take both streams at once and are trained end
    to end (Quo Vadis, section 2.3) as `two_stream`. The two streams of two-stream I3D are trained separately (section
    2.4): the config must name `i3d`, not `two_stream_i3d`.

    Raises:
        ConfigError: the network takes both streams, but `model.streams` lists only one.
    """
    if not _takes_both(config):
        return {stream: (stream,) for stream in config.streams}
    if set(config.streams) != {"rgb", "flow"}:
        raise ConfigError(f"model.streams: {config.name} takes rgb,flow at once, not {','.join(config.streams)}")
    return {BOTH: ("rgb", "flow")}


def build_network(config: ModelConfig, stream: str, num_classes: int) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        config: the config of the network.
        stream: rgb, flow or two_stream, as returned by `network_inputs`.
        num_classes: width of the classifier.

    Raises:
        ConfigError: there is no such network or option, or the network cannot take this stream.
    """
    options = dict(config.options)
    known = {info.name: info.options for info in list_models()}.get(config.name, ())
    if "dropout" in known or not known:
        options = {"dropout": config.dropout, **options}
    if "in_channels" in known:
        options["in_channels"] = CHANNELS[stream]
    elif stream != BOTH and known:
        raise ConfigError(f"model.streams: {config.name} takes rgb and flow at once, not {stream}")
    try:
        network = create_model(config.name, num_classes, **options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model: {error}") from None
    if stream != "flow" and config.levels != "signed":
        _set_levels(network, *LEVELS[config.levels])
    return network


def load_network(
    config: ModelConfig, stream: str, num_classes: int, weights: str | Path, labels: Sequence[str] = ()
) -> nn.Module:
    """Build a network and load stored weights into it, in evaluation mode, on the CPU.

    Args:
        config: the config of the network.
        stream: rgb, flow or two_stream.
        num_classes: width of the classifier.
        weights: file of the state dict.
        labels: classes in the order that the logits should have; if this is empty, or the file does not name its
            classes, the logits have the order of the file.

    Raises:
        WeightsError: the file cannot be read, or its classes are different.
    """
    network, stored = build_network(config, stream, num_classes), read_weights(weights)
    state, known = stored.state, stored.provenance
    if labels and known.labels and tuple(labels) != known.labels:
        if (rows := known.rows(labels)) is None:
            raise WeightsError(f"{weights}: its {len(known.labels)} classes are not the {len(labels)} that are wanted")
        state = in_rows(network, state, rows)
    network.load_state_dict(state)
    return network.eval()


def _takes_both(config: ModelConfig) -> bool:
    return any(info.name == config.name and info.clips.keys() == {"rgb", "flow"} for info in list_models())


def _set_levels(network: nn.Module, scale: tuple[float, ...], offset: tuple[float, ...]) -> None:
    for name, values in (("level_scale", scale), ("level_offset", offset)):  # buffers follow the network to a GPU
        network.register_buffer(name, torch.tensor(values).view(-1, 1, 1, 1), persistent=False)
    clip = next(iter(inspect.signature(network.forward).parameters))  # x, or rgb if flow is the second input
    network.register_forward_pre_hook(partial(_relevel, clip), with_kwargs=True)


def _relevel(clip: str, network: nn.Module, inputs: tuple, named: dict) -> tuple[tuple, dict]:
    """Change the levels of the RGB clip, the first positional or keyword input; this is a hook before `forward`."""
    scale, offset = network.get_buffer("level_scale"), network.get_buffer("level_offset")
    if inputs:
        return (inputs[0] * scale + offset, *inputs[1:]), named
    return inputs, {**named, clip: named[clip] * scale + offset}
