"""The network of one stream, as the config names it."""

from pathlib import Path

import torch
from torch import nn

from pipeline.clips.index import CHANNELS
from pipeline.config import ConfigError, ModelConfig
from pipeline.models import create_model, list_models


def build_network(config: ModelConfig, stream: str, num_classes: int) -> nn.Module:
    """A network with fresh weights that takes the stream's channels.

    Raises:
        ConfigError: no such network, no such option, or the network cannot take this stream.
    """
    options = {"dropout": config.dropout, **config.options}
    known = {info.name: info.options for info in list_models()}.get(config.name, ())
    if "in_channels" in known:
        options["in_channels"] = CHANNELS[stream]
    elif stream != "rgb" and known:
        raise ConfigError(f"model.streams: {config.name} takes rgb only, not {stream}")
    try:
        return create_model(config.name, num_classes, **options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model: {error}") from None


def load_network(config: ModelConfig, stream: str, num_classes: int, weights: str | Path) -> nn.Module:
    """The network with stored weights, in evaluation mode, on the CPU."""
    network = build_network(config, stream, num_classes)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
