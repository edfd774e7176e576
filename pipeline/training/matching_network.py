"""Supervision transfer from 2D to 3D without labels (Temporal 3D ConvNets, arXiv 1711.08200, section 3.2, Figure 2).

A frozen ImageNet network sees 32 frames one by one, the 3D network sees a clip; a classifier says whether both are of
the same video and time. What the 3D network learns for it is where its training on labels then starts.
"""

import re
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from pipeline.config import ConfigError, ModelConfig
from pipeline.models import imagenet_weights
from pipeline.models.weights import read_weights
from pipeline.networks import LEVELS, build_network

MATCHING = "matching"
STUDENT = "student."  # prefix of the 3D network in the state dict
FEATURES = 1024  # of the last pooling of DenseNet-121, and of the layer that ends the 3D network


class MatchingNetwork(nn.Module):
    """Frames through the frozen 2D network, averaged to 1024; clip through the 3D network to 1024; 2048-512-128-2.

    The classifier gives two logits, different and same, where the paper has one output: the same function. Between its
    layers are ReLUs, of which the paper says nothing.

    Args:
        teacher: frames (N, 3, H, W) of ImageNet's levels -> (N, 1024); stays as it is.
        student: clip (N, 3, T, H, W) from -1 to 1 -> (N, 1024).
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.teacher, self.student = teacher.requires_grad_(False).eval(), student
        scale, offset = LEVELS["imagenet"]
        self.register_buffer("scale", torch.tensor(scale).view(3, 1, 1), persistent=False)
        self.register_buffer("offset", torch.tensor(offset).view(3, 1, 1), persistent=False)
        self.classifier = nn.Sequential(
            nn.Linear(2 * FEATURES, 512), nn.ReLU(inplace=True), nn.Linear(512, 128), nn.ReLU(inplace=True),
            nn.Linear(128, 2),
        )  # fmt: skip

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for the teacher."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, frames: Tensor, rgb: Tensor) -> Tensor:
        """Frames and clip, both (N, 3, T, H, W) from -1 to 1 -> logits (N, 2)."""
        return self.classifier(torch.cat([self.taught(frames), self.student(rgb)], dim=1))

    @torch.no_grad()
    def taught(self, frames: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> mean over time of the 2D network's features, (N, 1024)."""
        clips, _, steps = frames.shape[:3]
        images = frames.transpose(1, 2).flatten(0, 1) * self.scale + self.offset
        return self.teacher(images).view(clips, steps, -1).mean(dim=1)


def build_matching(model: ModelConfig) -> MatchingNetwork:
    """The network of `model.name` as student, DenseNet-121 of ImageNet (`model.inflate`) as teacher.

    Raises:
        ConfigError: no such network, or no such weights.
    """
    model = replace(model, inflate="")
    return MatchingNetwork(_teacher(model.inflate), build_network(model, "rgb", FEATURES))


def student_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The 3D network in a matching network's state dict; any other state dict as it is."""
    if not any(name.startswith(STUDENT) for name in state):
        return state
    return {name.removeprefix(STUDENT): value for name, value in state.items() if name.startswith(STUDENT)}


def _teacher(weights: str) -> nn.Module:
    from torchvision.models import densenet121  # slow to import, and needed here only

    network = densenet121(weights=None)
    network.classifier = nn.Identity()  # of ImageNet's classes, or of others
    try:
        is_path = "/" in weights or "." in weights
        state = read_weights(weights).state if is_path else imagenet_weights(weights)
        # dots in names were allowed before PyTorch 0.4.1, and torchvision's file is older
        kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
        network.load_state_dict({re.sub(r"\.(norm|relu|conv)\.([12])\.", r".\1\2.", k): v for k, v in kept.items()})
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"model.inflate: supervision transfer needs densenet121 of torchvision: {line}") from error
    return network
