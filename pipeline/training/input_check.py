"""A check that a network accepts the windows of its training, run on the meta device, where nothing is computed."""

from dataclasses import replace

import torch
from torch import nn

from pipeline.clips.streams import CHANNELS
from pipeline.config import ClipsConfig, Config, ConfigError
from pipeline.networks import build_network

Size = tuple[int, int, int, int]  # channels, frames, height, width
SMALLEST_CROP = 16  # pixels; in networks that halve the frame five times, a value of the last map covers twice as many


def clip_sizes(clips: ClipsConfig, streams: tuple[str, ...]) -> list[Size]:
    """Return the size of the training window of each stream, in the order of the network's arguments."""
    rgb = clips.frames // clips.rgb_every if len(streams) > 1 else clips.frames
    frames = {"rgb": rgb, "flow": clips.frames}
    return [(CHANNELS[stream], frames[stream], clips.crop, clips.crop) for stream in streams]


def check_input(config: Config, name: str, streams: tuple[str, ...]) -> None:
    """Check, before clips are ingested, that the network accepts the windows of training and validation.

    Args:
        config: the resolved config.
        name: the name of the network.
        streams: the streams that the network takes.

    Raises:
        ConfigError: the network does not accept a window. The message includes the network's reason, such as the
            smallest size that it accepts.
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
        return  # the network has an operation that does not run on the meta device
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{said}: {reason[:200]}") from None
