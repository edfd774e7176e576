"""Inflation from 2D to 3D: an NxN filter becomes a TxNxN filter. Quo Vadis (arXiv 1705.07750), section 2.4.

Weights are repeated T times along time and divided by T. A video that repeats one image (the paper's "boring video")
then gives the pooled features and the logits of the 2D network for that image. To make this exact, a 3D network needs
two options: `time_padding="replicate"`, because padding with zeros changes the ends of a clip, and, if it is based on
Inception-v1, `stem_padding="symmetric"`, because torchvision's GoogLeNet pads its first convolution alike on all sides.

`load_published` inflates the weights of torchvision's GoogLeNet, ResNets and DenseNets by itself, from a file or from
the result of `imagenet_weights`.
"""

from pathlib import Path

import torch
from torch import Tensor

from pipeline.models.downloads import download
from pipeline.models.weights import read_weights


def inflate_weight(weight: Tensor, depth: int, in_channels: int | None = None) -> Tensor:
    """Inflate the filters of a 2D convolution.

    If the number of input channels changes, as for flow, each new channel gets the mean over the old ones, scaled so
    that the sum over channels is unchanged: the response to an image with equal channels stays the same.

    Args:
        weight: 2D filters (O, I, H, W).
        depth: frames T that the 3D filters span.
        in_channels: input channels I' of the 3D network; I by default.

    Returns:
        3D filters (O, I', T, H, W).
    """
    old = weight.shape[1]
    if in_channels is not None and in_channels != old:
        mean = weight.mean(dim=1, keepdim=True)
        weight = mean.expand(-1, in_channels, -1, -1) * (old / in_channels)
    return weight.unsqueeze(2).repeat(1, 1, depth, 1, 1) / depth


def imagenet_weights(name: str, weights: str = "DEFAULT") -> dict[str, Tensor]:
    """Return the state dict of a torchvision network trained on ImageNet; the first call downloads it.

    Args:
        name: torchvision's name of the network: "googlenet", "resnet50", "wide_resnet50_2", "densenet121".
        weights: torchvision's name of the weights: "IMAGENET1K_V1", "DEFAULT".

    Raises:
        ValueError: torchvision has no network or weights of this name.
        ConnectionError: the file cannot be downloaded; the message says which file to bring.
        WeightsError: the file is broken.
    """
    return read_weights(torchvision_file(name, weights)).state


def torchvision_file(name: str, weights: str = "DEFAULT") -> Path:
    """Return the path of a torchvision network's weights, for images or videos; the first call downloads the file.

    Raises:
        ValueError: torchvision has no network or weights of this name.
        ConnectionError: the file cannot be downloaded; the message says which file to bring.
    """
    from torchvision.models import get_model_weights  # slow to import, and only needed here

    try:
        entry = get_model_weights(name)[weights]
    except (KeyError, ValueError) as error:
        raise ValueError(f'torchvision has no weights "{weights}" of a network "{name}"') from error
    folder = Path(torch.hub.get_dir()) / "checkpoints"  # torchvision's own
    try:
        return download(entry.url, folder)
    except ConnectionError as error:
        raise ConnectionError(f"{error}: bring the file into {folder}, or give its path instead of {name}") from error
