"""Class-activation maps over space and time: where a clip speaks for a class, and when.

Zhou et al., Learning Deep Features for Discriminative Localization (arXiv 1512.04150): the last volume of features
times the classifier's weights. It is computed here as volume times gradient of the logit, summed over channels
(HiResCAM, arXiv 2011.08891). Wherever the logit is an affine function of the volume, through any pooling, that is the
same; and it is defined for C3D's fully connected layers and for an LSTM too. Grad-CAM (arXiv 1610.02391) averages the
gradient over all places first, which again is the same under global average pooling, but loses the place elsewhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 4  # places a side with which a map can be read: 28 x 28 pixels leave I3D one at the end, and four in Mixed_3c


@dataclass(frozen=True)
class Activation:
    """The map of one stream.

    Attributes:
        layer: whose output it is made of, as `named_modules` has it.
        maps: (N, classes, T', H', W') float32. Where the rest of the network is affine, the mean over all places, plus
            the classifier's bias, is the logit; in networks of two streams the means of both add up to it.
    """

    layer: str
    maps: Tensor


def class_activation(
    network: nn.Module, clips: Mapping[str, Tensor], classes: Sequence[int], layers: Sequence[str] = ()
) -> tuple[Tensor, list[Activation]]:
    """Maps of some classes for a batch of clips.

    Args:
        network: a network of `create_model`, in evaluation mode; it stays as it is.
        clips: what `forward` takes, by its names, each (N, C, T, H, W).
        classes: whose maps are wanted.
        layers: for each stream, the layer whose output is mapped; by default as `map_layers` chooses.

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
        return volumes[name].clone()  # what follows may write into it

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
    """The last stage of each stream that has four places a side or more, else the last of those that have most.

    Args:
        network: a network of `create_model`.
        clips: as in `class_activation`; the first of each is run through the network.
    """
    trunks = [_stages(network, trunk) for trunk in _trunks(network)]
    sides: dict[str, int] = {}  # in the order in which they run

    def note(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:  # noqa: ARG001 - torch's signature
        if output.ndim == 5:
            sides[name] = min(*output.shape[3:], SIDE)

    with _hooked(network, [name for names in trunks for name in names], note):
        network(**{name: clip[:1] for name, clip in clips.items()})
    latest = list(sides)[::-1]
    return [max((name for name in latest if name in names), key=lambda name: sides[name]) for names in trunks]


def upsample(maps: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Maps (N, classes, T', H', W') at the size (T, H, W) of the clip, trilinear."""
    return F.interpolate(maps, size=size, mode="trilinear", align_corners=False)


def _trunks(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of the names of each stream's modules."""
    return getattr(network, "trunks", ("",))


def _stages(network: nn.Module, trunk: str) -> list[str]:
    """Names of the modules that one stream goes through, one behind the other."""
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
    """No gradients of parameters: the graph then begins at the volume, and costs no memory before it."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
