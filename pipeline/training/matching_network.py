"""Supervision transfer from 2D to 3D without labels (Temporal 3D ConvNets, arXiv 1711.08200, section 3.2, Figure 2).

A frozen ImageNet network sees 32 frames one by one, and the 3D network sees a clip. A classifier decides whether both
are of the same video and time. The training on labels then starts from the weights that the 3D network has learned.
"""

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from pipeline.config import ConfigError, ModelConfig, is_path
from pipeline.models import imagenet_weights
from pipeline.models.published import without_dots
from pipeline.models.weights import read_weights
from pipeline.networks import LEVELS, build_network

MATCHING = "matching"
STUDENT = "student."  # prefix of the 3D network in the state dict
FEATURES = 1024  # size of DenseNet-121's last pooling, and of the 3D network's last layer


class MatchingNetwork(nn.Module):
    """A frozen 2D network, a 3D network, and a classifier (2048-512-128-2) on the 1024 features of each.

    The features of the 2D network are averaged over the frames. The classifier has two logits, different and same,
    where the paper has one output; both express the same function. The paper does not mention activations between the
    layers of the classifier; here they are ReLUs.

    Args:
        teacher: the 2D network, which is not trained: frames (N, 3, H, W) in ImageNet's levels -> (N, 1024).
        student: the 3D network: clip (N, 3, T, H, W) from -1 to 1 -> (N, 1024).
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
        """Set the mode of all parts except the teacher, which stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, frames: Tensor, rgb: Tensor) -> Tensor:
        """Compute the logits (N, 2) of frames and clip, both (N, 3, T, H, W) from -1 to 1."""
        return self.classifier(torch.cat([self.taught(frames), self.student(rgb)], dim=1))

    @torch.no_grad()
    def taught(self, frames: Tensor) -> Tensor:
        """Compute the mean over time of the 2D network's features: (N, 3, T, H, W) -> (N, 1024)."""
        clips, _, steps = frames.shape[:3]
        images = frames.transpose(1, 2).flatten(0, 1) * self.scale + self.offset
        return self.teacher(images).view(clips, steps, -1).mean(dim=1)


def build_matching(model: ModelConfig) -> MatchingNetwork:
    """Build the matching network of `model.name` as student and ImageNet's DenseNet-121 (`model.inflate`) as teacher.

    Raises:
        ConfigError: there is no such network, or there are no such weights.
    """
    student = build_network(replace(model, inflate=""), "rgb", FEATURES)
    return MatchingNetwork(_teacher(model.inflate), student)


def student_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the 3D network's entries of a matching network's state dict; return any other state dict unchanged."""
    if not any(name.startswith(STUDENT) for name in state):
        return state
    return {name.removeprefix(STUDENT): value for name, value in state.items() if name.startswith(STUDENT)}


def _teacher(weights: str) -> nn.Module:
    from torchvision.models import densenet121  # slow to import, and needed here only

    network = densenet121(weights=None)
    network.classifier = nn.Identity()  # removes the classifier, whatever its classes
    try:
        state = read_weights(weights).state if is_path(weights) else imagenet_weights(weights)
        kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
        network.load_state_dict({without_dots(name): value for name, value in kept.items()})
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"model.inflate: supervision transfer needs densenet121 of torchvision: {line}") from error
    return network
