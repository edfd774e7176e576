"""Class-activation maps over space and time, which show where and when a clip supports a class.

Zhou et al., Learning Deep Features for Discriminative Localization (arXiv 1512.04150), multiply the last volume of
features by the classifier's weights. Here the volume is multiplied by the gradient of the logit and summed over
channels (HiResCAM, arXiv 2011.08891). Both give the same wherever the logit is an affine function of the volume,
through any pooling; but the gradient is also defined for C3D's fully connected layers and for an LSTM. Grad-CAM
(arXiv 1610.02391) first averages the gradient over all places. Under global average pooling this again gives the same;
with other networks it loses the place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 4  # places per side of a readable map; for 28 x 28 pixels I3D's last map is 1 x 1, that of Mixed_3c is 4 x 4


@dataclass(frozen=True)
class Activation:
    """The maps of one stream.

    Attributes:
        layer: name (as in `named_modules`) of the layer from whose output the maps are computed.
        maps: (N, classes, T', H', W') float32. If the rest of the network is affine, the mean over all places plus the
            classifier's bias is the logit; in two-stream networks the means of both streams add up to it.
    """

    layer: str
    maps: Tensor


def class_activation(
    network: nn.Module, clips: Mapping[str, Tensor], classes: Sequence[int], layers: Sequence[str] = ()
) -> tuple[Tensor, list[Activation]]:
    """Compute the maps of some classes for a batch of clips.

    Args:
        network: a network of `create_model`, in evaluation mode; it is not changed.
        clips: the inputs of `forward` by name, each (N, C, T, H, W).
        classes: indices of the classes to map.
        layers: for each stream, the layer whose output is mapped; `map_layers` chooses them by default.

    Returns:
        Logits (N, num_classes), and an `Activation` for each of `network.trunks`.

    Raises:
        ValueError: the network is in training mode.
    """
    if network.training:
        raise ValueError("class_activation: the network is in training mode; call eval() first")
    layers = layers or map_layers(network, clips)
    volumes: dict[str, Tensor] = {}

    def cut(name: str, module: nn.Module, inputs: object, output: Tensor) -> Tensor:  # noqa: ARG001 - torch's signature
        volumes[name] = output.detach().requires_grad_()
        return volumes[name].clone()  # later layers may write into it

    with _frozen(network), _hooked(network, layers, cut), torch.enable_grad():
        logits = network(**clips)
        kept = [volumes[name] for name in layers]
        maps = []
        for number, each in enumerate(classes, start=1):
            gradients = torch.autograd.grad(logits[:, each].sum(), kept, retain_graph=number < len(classes))
            maps.append([(v.detach() * g).sum(dim=1) * v[0, 0].numel() for v, g in zip(kept, gradients, strict=True)])
    return logits.detach(), [
        Activation(name, torch.stack(one, dim=1)) for name, one in zip(layers, zip(*maps, strict=True), strict=True)
    ]


@torch.no_grad()
def map_layers(network: nn.Module, clips: Mapping[str, Tensor]) -> list[str]:
    """Return, for each stream, the last stage whose map has at least four places per side.

    If no stage has so many, it is the last of those with the most places per side.

    Args:
        network: a network of `create_model`.
        clips: as in `class_activation`; only the first clip of the batch is run through the network.
    """
    trunks = [_stages(network, trunk) for trunk in _trunks(network)]
    sides: dict[str, int] = {}  # in the order of execution

    def note(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:  # noqa: ARG001 - torch's signature
        if output.ndim == 5:
            sides[name] = min(*output.shape[3:], SIDE)

    with _hooked(network, [name for names in trunks for name in names], note):
        network(**{name: clip[:1] for name, clip in clips.items()})
    latest = list(sides)[::-1]
    return [max((name for name in latest if name in names), key=lambda name: sides[name]) for names in trunks]


def upsample(maps: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Resize maps (N, classes, T', H', W') to the size (T, H, W) of the clip, trilinearly."""
    return F.interpolate(maps, size=size, mode="trilinear", align_corners=False)


def _trunks(network: nn.Module) -> tuple[str, ...]:
    """Return the prefix of the module names of each stream."""
    return getattr(network, "trunks", ("",))


def _stages(network: nn.Module, trunk: str) -> list[str]:
    """Return the names of the modules that one stream passes through, in order."""
    body, prefix = network.get_submodule(trunk.rstrip(".")), trunk
    if isinstance(inner := getattr(body, "features", None), nn.Sequential):
        body, prefix = inner, f"{trunk}features."
    head = str(network.head).split(".")[0]
    return [prefix + name for name, part in body.named_children() if name != head and not isinstance(part, nn.Dropout)]


@contextmanager
def _hooked(network: nn.Module, names: Sequence[str], hook: Callable[..., Tensor | None]) -> Iterator[None]:
    handles = [network.get_submodule(name).register_forward_hook(partial(hook, name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Switch off gradients of parameters, so that the graph begins at the volume and takes no memory before it."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
