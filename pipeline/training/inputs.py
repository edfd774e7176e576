"""What a network is given in training, and whether it can take that: tried on the meta device, which costs no time."""

import torch

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
    """Find a window that is too small for the network, before the clips are ingested.

    Args:
        config: resolved.
        name: of the network.
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
        network = build_network(config.model, name, num_classes=2).train()
        inputs = [torch.empty(config.training.batch_size, *size) for size in clip_sizes(config.clips, streams)]
    try:
        with torch.no_grad():
            network(*inputs)
    except NotImplementedError:
        return  # an operation that knows no sizes without values
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"clips.frames {config.clips.frames}, clips.crop {config.clips.crop}: too small for {config.model.name} in "
            f"batches of {config.training.batch_size}: {reason[:200]}"
        ) from None
