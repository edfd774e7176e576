"""Any 2D image classifier of convolutions, inflated to 3D by the recipe of Quo Vadis (arXiv 1705.07750, section 2.4).

Rules:

- An NxN convolution becomes NxNxN; its weights are repeated N times along time and divided by N. A 1x1 convolution
  stays one frame deep. An even N that is no patch becomes N - 1 in time. `kernels` limits how many are inflated.
- Where the picture is halved, time is halved as `pacing` says, once for each halving. The default, (2, 1, 1, 2, 2), is
  I3D's: the picture becomes 32 times smaller and the clip 8 times shorter. A patch (a convolution whose kernel is its
  stride, as in ConvNeXt) and an average pooling span as many frames as they step; a max pooling spans one frame where
  time is not halved.
- Global pooling also averages over time. VGG's 7x7 pooling becomes 1x7x7: its linear layers see the mean over time.

A video that repeats one image then gives the features and logits of the 2D network for that image, exactly if
`time_padding` is "replicate" (see `pipeline.models.layers`).

Names of layers stay those of the 2D network, after `network.`, so that its files fit; the classifier is `fc`.
"""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pipeline.models.checks import check_clip
from pipeline.models.inflated_layers import (
    INSTEAD,
    PACING,
    SIDE,
    Inflater,
    InflationError,
    Kernels,
    Rules,
    Seen,
    replace_module,
    said,
)
from pipeline.models.layers import TimePadding, Triple, set_time_padding

SIDES = (32, 64, 96, 128, 192)  # that are tried to find the smallest clip; none is SIDE, for which an image may be made


class Inflated(nn.Module):
    """An inflated image classifier, for clips of at least as many frames as it steps (8) and 32x32 pixels or more.

    Args:
        network: the inflated network, with an identity in place of its classifier.
        fc: the classifier.
        name: name of the 2D network, for error messages.
        head_2d: name of the classifier in the 2D network.
        in_channels: 3 for RGB, 2 for flow.
        dropout: probability of dropping a feature before the classifier.

    Attributes:
        minimum: the smallest clip that the network takes: frames, height, width.
    """

    trunks: ClassVar[tuple[str, ...]] = ("network.",)
    head: ClassVar[str] = "fc"

    def __init__(
        self, network: nn.Module, fc: nn.Linear, name: str, head_2d: str, in_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.network, self.dropout, self.fc = network, nn.Dropout(dropout), fc
        self.name, self.head_2d, self.in_channels = f"inflated {name}", head_2d, in_channels
        self.minimum: Triple = (1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, num_classes) of a clip (N, C, T, H, W)."""
        return self.fc(self.dropout(self.pooled_features(x)))

    def pooled_features(self, x: Tensor) -> Tensor:
        """Compute the classifier's input (N, C') from a clip (N, C, T, H, W)."""
        check_clip(self.name, x, self.in_channels, self.minimum)
        return self.network(x)


def inflated(
    num_classes: int,
    backbone: str = "resnet50",
    in_channels: int = 3,
    dropout: float = 0.5,
    kernels: Kernels = "all",
    pacing: Sequence[int] = PACING,
    time_padding: TimePadding = "zeros",
) -> Inflated:
    """Build an image classifier of torchvision, by its name, and inflate it.

    Args:
        num_classes: width of the classifier.
        backbone: a name of `torchvision.models`: vgg16, resnet50, densenet121, googlenet, mobilenet_v2,
            efficientnet_b0, convnext_tiny and so on.
        in_channels: 3 for RGB, 2 for flow.
        dropout: probability of dropping a feature before the classifier, instead of the backbone's own at this place.
        kernels: see `Rules`.
        pacing: see `Rules`.
        time_padding: see `pipeline.models.layers`.

    Raises:
        ValueError: torchvision has no such network, an option is wrong, or the network cannot be inflated.
    """
    network = image_classifier(backbone, num_classes)
    return inflate(network, in_channels, dropout, kernels, pacing, time_padding, backbone)


def image_classifier(name: str, num_classes: int) -> nn.Module:
    """Build an image classifier of torchvision with fresh weights.

    Raises:
        ValueError: torchvision has no such network.
    """
    import torchvision.models as zoo  # slow to import, and only needed here

    if name not in zoo.list_models(module=zoo):
        raise ValueError(f'backbone is "{name}", and torchvision has no image classifier of this name; {INSTEAD}')
    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = zoo.get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def inflate(
    network_2d: nn.Module,
    in_channels: int = 3,
    dropout: float | None = None,
    kernels: Kernels = "all",
    pacing: Sequence[int] = PACING,
    time_padding: TimePadding = "zeros",
    name: str = "",
) -> Inflated:
    """Inflate an image classifier, with its weights; the 2D network is not changed.

    Args:
        network_2d: a network that takes images (N, 3, H, W) and ends in a linear layer.
        in_channels: channels of the clips. If they are not the network's, its first convolution is adapted as
            `inflate_weight` says.
        dropout: probability of dropping a feature before the classifier; None for the network's own.
        kernels: see `Rules`.
        pacing: see `Rules`.
        time_padding: see `pipeline.models.layers`.
        name: name of the network for error messages; its class by default.

    Raises:
        InflationError: a module of the network cannot be inflated.
        ValueError: an option is wrong.
    """
    name, rules = name or type(network_2d).__name__, Rules(kernels, pacing)
    network = copy.deepcopy(network_2d).eval()
    seen = _watch(network, name)
    *_, (before, last), (head, fc) = seen.leaves
    if not isinstance(fc, nn.Linear):
        raise InflationError(
            f"{name} cannot be inflated: it ends in {said(head, fc)}, not in a linear layer; {INSTEAD}"
        )
    replace_module(network, head, nn.Identity())
    if isinstance(last, nn.Dropout):
        dropout = last.p if dropout is None else dropout
        replace_module(network, before, nn.Identity())
    inflater = Inflater(name, seen, rules, in_channels)
    network = inflater.network(network)
    model = Inflated(network, fc, name, head, in_channels, dropout or 0.0)
    set_time_padding(model.eval(), time_padding)
    model.minimum = _smallest_clip(model, name, in_channels, math.prod(rules.pacing))
    return model.train(network_2d.training)


def _watch(network: nn.Module, name: str) -> Seen:
    """Run an image through a network on the meta device, which computes nothing."""
    seen = Seen([], {}, set())
    modules = dict(network.named_modules())

    def note(path: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not any(module.children()):
            seen.leaves.append((path, modules[path]))
        if (
            inputs
            and isinstance(inputs[0], Tensor)
            and isinstance(output, Tensor)
            and inputs[0].ndim == output.ndim == 4
        ):
            seen.sides.setdefault(path, (inputs[0].shape[2], output.shape[2]))
        if isinstance(module, nn.Conv2d) and inputs[0].shape[2] == SIDE and module.in_channels == 3:
            seen.first.add(path)

    _run_on_meta(network, name, (1, 3, SIDE, SIDE), note)
    if len(seen.leaves) < 2:
        raise InflationError(f"{name} cannot be inflated: it has no layers that run one after the other; {INSTEAD}")
    return seen


def _run_on_meta(
    network: nn.Module, name: str, shape: tuple[int, ...], note: Callable[..., None] | None = None
) -> None:
    """Run an input through a copy of a network without values; `note` is a forward hook that gets the name first."""
    tensors = [*network.parameters(), *network.buffers()]
    empty = {id(each): torch.empty_like(each, device="meta") for each in tensors}
    memo = {key: nn.Parameter(each) if each.is_floating_point() else each for key, each in empty.items()}
    meta, running = copy.deepcopy(network, {**memo}), [""]

    def enter(path: str, module: nn.Module, inputs: Any) -> None:  # noqa: ARG001 - torch's signature
        running.append(path)

    for path, module in meta.named_modules():
        if path:
            module.register_forward_pre_hook(partial(enter, path))
            if note is not None:
                module.register_forward_hook(partial(note, path))
    try:
        with torch.inference_mode():
            meta(torch.empty(shape, dtype=next((each.dtype for each in tensors), None), device="meta"))
    except Exception as error:  # a network of others may fail in any way
        path, reason = running[-1], " ".join(str(error).split())[:200]
        name_2d = network.head_2d if isinstance(network, Inflated) and path == network.head else path
        where = said(name_2d.removeprefix("network."), meta.get_submodule(path))
        size = "x".join(map(str, shape[2:]))
        raise InflationError(
            f"{name} cannot be inflated: {where} does not take an input of {size}, does it flatten its maps? ({reason})"
        ) from error


def _smallest_clip(network: nn.Module, name: str, in_channels: int, frames: int) -> Triple:
    """Return the smallest clip that an inflated network takes; this also finds a network that takes one size only."""
    for side in SIDES:
        try:
            _run_on_meta(network, name, (1, in_channels, frames, side, side))
        except InflationError:
            if side == SIDES[-1]:
                raise
        else:
            break
    return frames, side, side
