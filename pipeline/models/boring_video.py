"""The boring-video error of inflated networks, as markdown: `python -m pipeline.models.boring_video [NAME ...]`.

Quo Vadis (arXiv 1705.07750), section 2.4: a video that repeats one image should give what the 2D network gives for the
image. The weights are random, and so are the statistics of batch norm, so that every layer counts. The error is the
largest difference between the logits of both networks, as a share of the largest logit. It is computed in float64, so
that rounding stays small; the random weights of EfficientNetV2-S blow it up by 1e8, and in float32 to 0.3.
"""

import copy
import sys
from collections.abc import Sequence

import torch
from torch import nn

from pipeline.models.cost import count_gmacs, count_parameters
from pipeline.models.inflated import image_classifier, inflate

BACKBONES = (
    *("alexnet", "vgg11", "vgg16", "vgg16_bn", "vgg19_bn"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"),
    *("densenet121", "densenet169", "densenet201", "googlenet"),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet1_0"),
    *("efficientnet_b0", "efficientnet_b4", "efficientnet_v2_s", "regnet_y_8gf"),
    *("convnext_tiny", "convnext_base"),
)
"""Image classifiers of torchvision that the table shows; there are more of each family."""


@torch.no_grad()
def shake(network: nn.Module, seed: int = 0) -> None:
    """Give a network random weights and statistics with which every layer counts and no map grows or fades."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in network.state_dict().items():
        if name.endswith("running_var"):
            values.uniform_(0.5, 1.5, generator=generator)
        elif values.ndim >= 2 and max(values.shape[1:]) > 1:  # of a convolution or a linear layer: He's rule
            values.normal_(0, (2 / values[0].numel()) ** 0.5, generator=generator)
        elif values.is_floating_point():
            centre = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
            values.normal_(centre, 0.1, generator=generator)


def boring_video_error(network_2d: nn.Module, frames: int = 9, side: int = 64) -> float:
    """Inflate a network, show it an image as a video, and return the largest error as a share of the largest logit.

    Args:
        network_2d: an image classifier in evaluation mode.
        frames: number of frames of the video.
        side: height and width of the image in pixels.
    """
    exact = copy.deepcopy(network_2d).double()
    network = inflate(exact, time_padding="replicate")
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        expected, found = exact(image), network(image.unsqueeze(2).expand(-1, -1, frames, -1, -1))
    return float((found - expected).abs().max() / expected.abs().max())


def row(name: str) -> list[str]:
    """Measure one network of torchvision: its table row."""
    network_2d = image_classifier(name, num_classes=400).eval()
    shake(network_2d)
    parameters = [count_parameters(network) for network in (network_2d, inflate(network_2d))]
    with torch.device("meta"):
        clip = torch.empty(1, 3, 16, 224, 224)
    gmacs = count_gmacs(inflate(network_2d).to("meta"), x=clip)
    millions = [f"{number / 1e6:.2f} M" for number in parameters]
    return [f"`{name}`", *millions, f"{gmacs:.1f}", f"{boring_video_error(network_2d):.0e}"]


def main(names: Sequence[str]) -> None:
    """Print the table."""
    titles = ["`backbone`", "Parameters, 2D", "Parameters, 3D", "GMACs of 16x224x224x3", "Boring-video error"]
    for cells in (titles, ["---"] * len(titles)):
        print("| " + " | ".join(cells) + " |")
    for name in names or BACKBONES:
        print("| " + " | ".join(row(name)) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
