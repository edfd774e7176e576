"""What a network is given in training, and whether it can take that: tried on the meta device, which costs no time."""

from dataclasses import replace

import torch
from torch import nn

from pipeline.clips.streams import CHANNELS
from pipeline.config import ClipsConfig, Config, ConfigError
from pipeline.networks import build_network

Size = tuple[int, int, int, int]  # channels, frames, height, width
SMALLEST_CROP = 16  # half of what one value of the last maps stands for, in networks that halve pictures five times


def clip_sizes(clips: ClipsConfig, streams: tuple[str, ...]) -> list[Size]:
    """The training window of each stream that one network takes, in the order of its arguments."""
    rgb = clips.frames // clips.rgb_every if len(streams) > 1 else clips.frames
    frames = {"rgb": rgb, "flow": clips.frames}
    return [(CHANNELS[stream], frames[stream], clips.crop, clips.crop) for stream in streams]


def check_input(config: Config, name: str, streams: tuple[str, ...]) -> None:
    """Find a window of the training or of the validation that the network does not take, before clips are ingested.

    Args:
        config: resolved.
        name: the name of the network.
        streams: that it takes.

    Raises:
        ConfigError: saying how much it needs at least, where the network says so.
    """
    if config.clips.crop < SMALLEST_CROP:
        raise ConfigError(
            f"clips.crop {config.clips.crop}: too small for {config.model.name}, whose last maps would see padding "
            f"alone; give {SMALLEST_CROP} or more"
        )
    with torch.device("meta"):
        network = build_network(config.model, name, num_classes=2)
    clips, frames = config.clips, config.evaluation.val_frames
    said = f"clips.frames {clips.frames}, clips.crop {clips.crop}: too small for {config.model.name} in batches of "
    _try(network.train(), clips, streams, config.training.batch_size, f"{said}{config.training.batch_size}")
    if frames is not None:
        said = f"evaluation.val_frames {frames}, clips.crop {clips.crop}: {config.model.name} does not take them"
        _try(network.eval(), replace(clips, frames=frames), streams, config.evaluation.batch_size, said)


def _try(network: nn.Module, clips: ClipsConfig, streams: tuple[str, ...], batch_size: int, said: str) -> None:
    inputs = [torch.empty(batch_size, *size, device="meta") for size in clip_sizes(clips, streams)]
    try:
        with torch.no_grad():
            network(*inputs)
    except NotImplementedError:
        return  # an operation that knows no sizes without values
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{said}: {reason[:200]}") from None
