"""The output of any layer of any network, by its name.

    avg_pool        what the classifier sees, averaged over time and space: 1024 values of I3D
    logits          the network's output
    probabilities   the softmax of the logits
    Mixed_5c, ...   the output of a module, by its name in `named_modules`; small and capital letters are the same

A map (C, T', H', W') is averaged over time and space unless the whole map is asked for.
"""

import copy
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.config import ConfigError

AVG_POOL, LOGITS, PROBABILITIES = "avg_pool", "logits", "probabilities"
SPECIAL = (AVG_POOL, LOGITS, PROBABILITIES)
Pool = Literal["mean", "none"]

_TWO = 2  # clips of the batch by which a layer's batch dimension is recognised


class LayerError(ConfigError):
    """There is no such layer, or the network cannot take such windows; the message is one line for the user."""


def layer_shapes(network: nn.Module, clips: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every layer's output for one clip, in the order in which the network computes them.

    Nothing is computed: the network is run on PyTorch's `meta` device.

    Args:
        network: a network of `create_model`, on any device; it is not changed.
        clips: shape (C, T, H, W) of each input of `forward`.

    Raises:
        LayerError: the network cannot take such clips.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:  # noqa: ARG001 - torch's signature
        if isinstance(output, Tensor) and output.ndim in (2, 5) and len(output) == _TWO:
            shapes[name] = tuple(output.shape[1:])

    meta = copy.deepcopy(network).to("meta")
    with _hooked({name: partial(note, name) for name, _ in meta.named_modules() if name}, meta):
        outputs = _run(meta, {name: (_TWO, *shape) for name, shape in clips.items()})
    width = sum(_classifier_width(meta, place) for place in heads(meta))
    return shapes | {AVG_POOL: (width,), LOGITS: outputs, PROBABILITIES: outputs}


def least_frames(network: nn.Module, clips: Mapping[str, tuple[int, ...]], most: int = 128) -> int | None:
    """Return the smallest number of frames of a clip that the network can take; None if that is more than `most`.

    Args:
        network: see `layer_shapes`.
        clips: shape (C, T, H, W) of each input of `forward`; T is not used. Inputs have numbers of frames in the same
            ratio as here.
        most: largest number to try.
    """
    unit = min(shape[1] for shape in clips.values())
    ratio = {name: shape[1] / unit for name, shape in clips.items()}
    for frames in range(1, most + 1):
        tried = {name: (c, round(frames * ratio[name]), *size) for name, (c, _, *size) in clips.items()}
        try:
            layer_shapes(network, tried)
        except LayerError:
            continue
        return frames
    return None


def named(layers: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the names of layers as the network spells them.

    Raises:
        LayerError: there is no such layer; the message has the nearest one.
    """
    spelled = {name.lower(): name for name in known}
    for layer in layers:
        if layer.lower() not in spelled:
            near = difflib.get_close_matches(layer.lower(), spelled, n=1, cutoff=0.4)
            hint = f"did you mean {spelled[near[0]]}? " if near else ""
            raise LayerError(f"--layers {layer}: the network has no such layer; {hint}--list-layers shows all")
    return tuple(dict.fromkeys(spelled[layer.lower()] for layer in layers))


def heads(network: nn.Module) -> list[str]:
    """Return the names of the network's classifiers: one, or one for each stream."""
    head = str(getattr(network, "head", "fc"))
    there = dict(network.named_modules())
    places = [f"{trunk}{head}" for trunk in dict.fromkeys((*getattr(network, "trunks", ()), ""))]
    return [place for place in places if place in there]


class Taps:
    """Hooks that keep what layers of a network put out while it runs.

    Attributes:
        network: the network, in evaluation mode.
        layers: names of layers, as `named` returns them.
        pool: mean, to average maps over time and space; or none.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], pool: Pool = "mean") -> None:
        """Prepare the hooks; they are in the network only while it is called."""
        self.network, self.layers, self.pool = network, tuple(layers), pool

    @torch.inference_mode()
    def __call__(self, clips: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the network on clips, (N, C, T, H, W) for each input; return the output of each layer, (N, ...)."""
        kept: dict[str, Tensor] = {}
        seen: dict[str, Tensor] = {}  # what each classifier sees
        before: dict[str, Callable[..., None]] = {}

        def keep(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:  # noqa: ARG001
            kept[name] = _pooled(output) if self.pool == "mean" else output.clone()  # later layers may write into it

        def see(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:  # noqa: ARG001
            seen[name] = _pooled(inputs[0])

        behind = {name: partial(keep, name) for name in self.layers if name not in SPECIAL}
        if AVG_POOL in self.layers:
            before = {place: partial(see, place) for place in heads(self.network)}
        with _hooked(behind, self.network), _hooked(before, self.network, before=True):
            logits = _call(self.network, clips)
        if AVG_POOL in self.layers:
            kept[AVG_POOL] = torch.cat([seen[place] for place in before], dim=1)
        kept |= {LOGITS: logits}
        if PROBABILITIES in self.layers:
            kept[PROBABILITIES] = logits.softmax(dim=1)
        return {name: kept[name] for name in self.layers}


def _pooled(output: Tensor) -> Tensor:
    """Average a map (N, C, T, H, W) over time and space, or a sequence (N, T, C) over time, to (N, C)."""
    if output.ndim == 3:
        return output.mean(dim=1)
    return output.mean(dim=tuple(range(2, output.ndim))) if output.ndim > 3 else output.clone()


def _classifier_width(network: nn.Module, place: str) -> int:
    weight = network.get_submodule(place).get_parameter("weight")
    return int(weight.shape[1])


def _run(network: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Run a network on the meta device, and return the shape of its output for one clip."""
    try:
        with torch.inference_mode():
            output = _call(network, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    except (ValueError, RuntimeError) as error:  # of this project's own checks, or of torch's
        raise LayerError(" ".join(str(error).split())[:300]) from None
    return tuple(output.shape[1:])


def _call(network: nn.Module, clips: Mapping[str, Tensor]) -> Tensor:
    output: Tensor = network(**clips) if len(clips) > 1 else network(*clips.values())
    return output


@contextmanager
def _hooked(hooks: Mapping[str, Callable[..., Any]], network: nn.Module, before: bool = False) -> Iterator[None]:
    modules = {name: network.get_submodule(name) for name in hooks}
    handles = [
        modules[name].register_forward_pre_hook(hook) if before else modules[name].register_forward_hook(hook)
        for name, hook in hooks.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
