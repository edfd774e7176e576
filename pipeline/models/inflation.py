"""From 2D to 3D: a filter of NxN becomes one of TxNxN. Quo Vadis (arXiv 1705.07750), section 2.4.

Weights are repeated T times along time and divided by T. Then a video that repeats one image (the paper's "boring
video") gives the pooled features and the logits of the 2D network for that image. At the ends of a clip this needs
padding in time by repetition: option ``time_padding="replicate"`` of the 3D network. GoogLeNet in torchvision pads its
first convolution on both sides alike: option ``stem_padding="symmetric"`` of the networks on Inception-v1.

``load_published`` inflates weights of torchvision's GoogLeNet, ResNets and DenseNets on its own, from a file or from
``imagenet_weights``.
"""

from pathlib import Path

import torch
from torch import Tensor

from pipeline.models.downloads import download
from pipeline.models.weights import read_weights


def inflate_weight(weight: Tensor, depth: int, in_channels: int | None = None) -> Tensor:
    """Inflate the filters of a 2D convolution.

    Where the number of input channels changes, as for flow, each new channel gets the mean over the old ones, scaled so
    that the sum over channels stays: the response to an image with equal channels is the same.

    Args:
        weight: (O, I, H, W).
        depth: frames T that the 3D filters span.
        in_channels: input channels I' of the 3D network, by default I.

    Returns:
        (O, I', T, H, W).
    """
    old = weight.shape[1]
    if in_channels is not None and in_channels != old:
        mean = weight.mean(dim=1, keepdim=True)
        weight = mean.expand(-1, in_channels, -1, -1) * (old / in_channels)
    return weight.unsqueeze(2).repeat(1, 1, depth, 1, 1) / depth


def imagenet_weights(name: str, weights: str = "DEFAULT") -> dict[str, Tensor]:
    """State dict of a torchvision network trained on ImageNet; downloaded at the first call.

    Args:
        name: as torchvision names it: "googlenet", "resnet50", "wide_resnet50_2", "densenet121".
        weights: as torchvision names it: "IMAGENET1K_V1", "DEFAULT".

    Raises:
        ValueError: for a name that torchvision lacks.
        ConnectionError: where the file cannot be had; says which file to bring.
        WeightsError: the file is broken.
    """
    return read_weights(torchvision_file(name, weights)).state


def torchvision_file(name: str, weights: str = "DEFAULT") -> Path:
    """The file of a torchvision network's weights, on images or videos; downloaded at the first call.

    Raises:
        ValueError: for a name that torchvision lacks.
        ConnectionError: where the file cannot be had; says which file to bring.
    """
    from torchvision.models import get_model_weights  # slow to import, and needed here only

    try:
        entry = get_model_weights(name)[weights]
    except (KeyError, ValueError) as error:
        raise ValueError(f'torchvision has no weights "{weights}" of a network "{name}"') from error
    try:
        return download(entry.url, Path(torch.hub.get_dir()) / "checkpoints")  # where torchvision puts them too
    except ConnectionError as error:
        raise ConnectionError(f"{error}: bring the file and give its path instead of {name}") from error
