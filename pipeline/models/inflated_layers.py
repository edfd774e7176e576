"""How each layer of a 2D network becomes one over (N, C, T, H, W); `pipeline.models.inflated` states the rules."""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pipeline.models.inflation import inflate_weight
from pipeline.models.layers import Conv3d

Kernels = Literal["all", "alternate", "none"]

PACING = (2, 1, 1, 2, 2)  # what happens to time at the first to fifth halving of the picture, in I3D
SIDE = 224  # of the image with which the halvings are found
INSTEAD = "take a network of convolutions, such as vgg16, resnet50, densenet121 or convnext_tiny"


class InflationError(ValueError):
    """A 2D network that cannot be inflated; the message names the module, why, and what to take instead."""


@dataclass(frozen=True)
class Rules:
    """How kernels and strides extend over time; see the module's docstring.

    Attributes:
        kernels: "all" NxN convolutions become NxNxN; or "alternate", every second one from the first on; or "none",
            and then only patches and poolings see more than one frame.
        pacing: for each halving of the picture, 2 to halve time too, or 1.
    """

    kernels: Kernels = "all"
    pacing: Sequence[int] = PACING

    def __post_init__(self) -> None:
        if self.kernels not in get_args(Kernels):
            raise ValueError(f'kernels is "{self.kernels}", must be one of {", ".join(get_args(Kernels))}')
        if len(self.pacing) != len(PACING) or not set(self.pacing) <= {1, 2}:
            raise ValueError(f"pacing is {tuple(self.pacing)}, must be five numbers, each 1 or 2, such as {PACING}")

    def time_stride(self, before: int, after: int) -> int:
        """Return the stride in time of a layer before which the side of the picture is `before`, and then `after`."""
        first, last = (round(math.log2(SIDE / side)) for side in (before, after))
        return math.prod(self.pacing[first:last])


@dataclass
class Seen:
    """What a 2D network does with an image.

    Attributes:
        leaves: names and modules without children in the order in which they run.
        sides: height of each module's input and output, of those that take and give maps.
        first: names of the convolutions that see the image itself.
    """

    leaves: list[tuple[str, nn.Module]]
    sides: dict[str, tuple[int, int]]
    first: set[str]


class Inflater:
    """One pass over a network, from the leaves up."""

    def __init__(self, name: str, seen: Seen, rules: Rules, in_channels: int) -> None:
        self.name, self.seen, self.rules, self.in_channels = name, seen, rules, in_channels
        self.kernels = 0  # NxN convolutions so far

    def network(self, network: nn.Module) -> nn.Module:
        """Inflate the whole network, without the layers that run in training alone (GoogLeNet's other classifiers)."""
        graph = self.traced("", network)
        for node in list(graph.nodes):
            if node.op == "call_module":
                module = self.module(node.target, network.get_submodule(node.target))
                replace_module(network, node.target, module)
                if isinstance(module, nn.Identity):  # such as the place of the classifier, which has the same name
                    node.replace_all_uses_with(node.args[0])
                    graph.erase_node(node)
        self.rewrite("", network, graph)
        return fx.GraphModule(network, graph)

    def module(self, path: str, module: nn.Module) -> nn.Module:
        """Return the 3D form of a module."""
        if build := _LEAVES.get(type(module)):
            return build(self, path, module)
        if type(module) in _kept():
            return module
        if build := _torchvision().get(type(module)):
            return build(self, path, module)
        if type(module).__module__.startswith("torch.nn") and not isinstance(module, _CONTAINERS):
            raise self.error(path, module, "which has no form for clips")
        for child, inner in list(module.named_children()):
            setattr(module, child, self.module(f"{path}.{child}", inner))
        if isinstance(module, _CONTAINERS):
            return module
        for key, parameter in list(module.named_parameters(recurse=False)):
            if parameter.ndim != 3 or parameter.shape[1:] != (1, 1):
                raise self.error(path, module, f"whose {key} {tuple(parameter.shape)} is made for images of one size")
            setattr(module, key, nn.Parameter(parameter.detach().unsqueeze(-1), parameter.requires_grad))
        graph = self.traced(path, module)
        return fx.GraphModule(module, graph) if self.rewrite(path, module, graph) else module

    def traced(self, path: str, module: nn.Module) -> fx.Graph:
        """Return what a module's own `forward` does with its children."""
        try:
            return _Shallow().trace(module)
        except Exception as error:  # a network of others may fail in any way
            reason = " ".join(str(error).split())[:200]
            raise self.error(path, module, f"whose forward torch.fx cannot trace ({reason})") from error

    def rewrite(self, path: str, module: nn.Module, graph: fx.Graph) -> bool:
        """Give the functions that a module calls their 3D form; return whether this changed any."""
        changed = False
        for node in graph.nodes:
            called = node.target if node.op in ("call_function", "call_method") else None
            if called is None or _same_for_clips(node, called):
                continue
            if called is F.adaptive_avg_pool2d:
                size = node.args[1] if len(node.args) > 1 else node.kwargs["output_size"]
                node.target, node.args, node.kwargs = F.adaptive_avg_pool3d, (node.args[0], _global(size)), {}
                changed = True
            elif called in ("mean", torch.mean) and _axes(node) in ((2, 3), (-2, -1)):
                node.args, changed = (node.args[0], [2, 3, 4]), True
                node.kwargs = {key: value for key, value in node.kwargs.items() if key != "dim"}
            else:
                named = called if isinstance(called, str) else getattr(called, "__name__", str(called))
                raise self.error(path, module, f"which calls {named}")
        return changed

    def conv(self, path: str, conv: nn.Conv2d) -> nn.Module:
        """Inflate a convolution."""
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
            raise self.error(path, conv, f"with padding {conv.padding_mode} {conv.padding}")
        (height, width), (dilation, *_) = conv.kernel_size, conv.dilation
        stride, depth, patch = self.time_stride(path, conv.stride), min(height, width), False
        if depth > 1 and conv.kernel_size == conv.stride:
            depth, patch = stride, True
        elif depth > 1:
            depth = depth - 1 + depth % 2 if self.inflates() else 1
        channels = self.in_channels if path in self.seen.first else conv.in_channels
        new = Conv3d(
            channels,
            conv.out_channels,
            (depth, height, width),
            (stride, *_pair(conv.stride)),
            (0 if patch else dilation * (depth - 1) // 2, *_pair(conv.padding)),
            (dilation if depth > 1 else 1, *_pair(conv.dilation)),
            conv.groups,
            bias=conv.bias is not None,
            device="meta",
        )
        weight = inflate_weight(conv.weight.detach(), depth, channels if channels != conv.in_channels else None)
        new.weight, new.bias = nn.Parameter(weight, conv.weight.requires_grad), conv.bias
        return new

    def inflates(self) -> bool:
        """Return whether the next NxN convolution becomes NxNxN."""
        self.kernels += 1
        return self.rules.kernels == "all" or (self.rules.kernels == "alternate" and self.kernels % 2 == 1)

    def max_pool(self, path: str, pool: nn.MaxPool2d) -> nn.Module:
        """Inflate a max pooling."""
        kernel, strides, padding, dilation = map(_pair, (pool.kernel_size, pool.stride, pool.padding, pool.dilation))
        stride = self.time_stride(path, strides)
        depth = max(kernel) if stride > 1 or max(strides) == 1 else 1
        return InflatedMaxPool((depth, *kernel), (stride, *strides), padding, dilation, pool.ceil_mode)

    def average_pool(self, path: str, pool: nn.AvgPool2d) -> nn.Module:
        """Inflate an average pooling."""
        strides = _pair(pool.stride)
        stride = self.time_stride(path, strides)
        kernel, padding = (stride, *_pair(pool.kernel_size)), (0, *_pair(pool.padding))
        return nn.AvgPool3d(kernel, (stride, *strides), padding, pool.ceil_mode, pool.count_include_pad)

    def time_stride(self, path: str, strides: tuple[int, ...]) -> int:
        """Return the stride in time of a layer with these strides in space."""
        return self.rules.time_stride(*self.seen.sides[path]) if max(strides) > 1 and path in self.seen.sides else 1

    def error(self, path: str, module: nn.Module, why: str) -> InflationError:
        """Return the error that a module cannot be inflated."""
        return InflationError(f"{self.name} cannot be inflated: it has {said(path, module)}, {why}; {INSTEAD}")


class InflatedMaxPool(nn.Module):
    """Max pooling padded by minus infinity in time, so that T frames become ceil(T / stride) (floor for even kernels).

    Args:
        kernel: (time, height, width).
        stride: (time, height, width).
        padding: height, width.
        dilation: height, width.
        ceil_mode: whether a window that begins inside the map but ends outside counts, in space.
    """

    def __init__(
        self,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        ceil_mode: bool,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.ceil_mode = kernel, stride, ceil_mode
        self.padding, self.dilation = ((kernel[0] - 1) // 2, *padding), (1, *dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to (N, C, T', H', W')."""
        if self.ceil_mode and torch.compiler.is_exporting():  # a program takes no ceiling of an unknown size
            x = F.pad(x, (0, self.stride[2] - 1, 0, self.stride[1] - 1), value=float("-inf"))
            return F.max_pool3d(x, self.kernel, self.stride, self.padding, self.dilation)
        steps = (x.shape[2] + 2 * self.padding[0] - self.kernel[0]) // self.stride[0] + 1
        x = F.max_pool3d(x, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)
        return x[:, :, :steps] if self.ceil_mode else x

    def extra_repr(self) -> str:
        """Return what `print(model)` shows of this layer."""
        return f"kernel={self.kernel}, stride={self.stride}"


class LayerNorm3d(nn.LayerNorm):
    """Layer norm over the channels of (N, C, T, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, T, H, W) to the same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class _Shallow(fx.Tracer):
    """Traces a module's own `forward`, and takes each of its children as one step."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002 - fx's signature
        return True


def _batch_norm(inflater: Inflater, path: str, norm: nn.BatchNorm2d) -> nn.Module:  # noqa: ARG001
    new = nn.BatchNorm3d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, "meta")
    new._parameters, new._buffers = norm._parameters, norm._buffers
    return new


def _adaptive_pool(inflater: Inflater, path: str, pool: nn.AdaptiveAvgPool2d) -> nn.Module:  # noqa: ARG001
    return nn.AdaptiveAvgPool3d(_global(pool.output_size))


def _layer_norm(inflater: Inflater, path: str, norm: nn.LayerNorm) -> nn.Module:  # noqa: ARG001
    new = LayerNorm3d(norm.normalized_shape, norm.eps, norm.elementwise_affine, norm.bias is not None, "meta")
    new._parameters = norm._parameters
    return new


def _permute(inflater: Inflater, path: str, permute: Any) -> nn.Module:
    known = {(0, 2, 3, 1): [0, 2, 3, 4, 1], (0, 3, 1, 2): [0, 4, 1, 2, 3]}  # channels last, and first again
    if (dims := known.get(tuple(permute.dims))) is None:
        raise inflater.error(path, permute, f"of the axes {tuple(permute.dims)}")
    return type(permute)(dims)


_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_LEAVES: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Conv2d: Inflater.conv,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: Inflater.max_pool,
    nn.AvgPool2d: Inflater.average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    nn.Dropout2d: lambda _inflater, _path, dropout: nn.Dropout3d(dropout.p),
}


def _torchvision() -> dict[type[nn.Module], Callable[..., nn.Module]]:
    """Return how layers of torchvision's own are inflated."""
    from torchvision.models.convnext import LayerNorm2d
    from torchvision.ops import Permute

    return {LayerNorm2d: _layer_norm, Permute: _permute}


def _kept() -> set[type[nn.Module]]:
    """Return the modules that do the same with a clip as with an image."""
    from torchvision.ops import StochasticDepth

    activations = {nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Mish, nn.Sigmoid, nn.Tanh}
    return (
        activations
        | {nn.Hardswish, nn.Hardsigmoid, nn.Identity, nn.Flatten, nn.Dropout, nn.Linear, nn.LayerNorm}
        | {StochasticDepth}
    )


_ELEMENTWISE = {
    *(operator.add, operator.iadd, operator.sub, operator.mul, operator.imul, operator.truediv, torch.add, torch.mul),
    *(F.relu, F.relu_, F.relu6, F.silu, F.gelu, F.hardswish, F.hardsigmoid, torch.relu, torch.sigmoid),
    *("relu", "relu_", "sigmoid", "add", "add_", "mul", "mul_"),
}


def _same_for_clips(node: fx.Node, called: Any) -> bool:
    """Return whether a call does the same with a clip as with an image: by element, along the channels, or flat."""
    if called in (torch.cat, torch.concat, torch.unsqueeze, "unsqueeze"):
        return bool((node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)) == 1)
    if called is operator.getitem:  # one channel of the image, as GoogLeNet takes it
        return isinstance(node.args[1], tuple) and len(node.args[1]) == 2 and node.args[1][0] == slice(None)
    return called in _ELEMENTWISE or called in ("flatten", torch.flatten)  # flattening maps is found by running it


def _axes(node: fx.Node) -> tuple[Any, ...]:
    axes: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", ())
    return tuple(axes) if isinstance(axes, (list, tuple)) else (axes,)


def _global(size: Any) -> tuple[int, int, int]:
    """Return the output size of an adaptive pooling that also averages over time."""
    return (1, *_pair(size))


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def said(path: str, module: nn.Module) -> str:
    """Return how an error names a module: features.3 (Conv2d)."""
    return f"{path} ({type(module).__name__})" if path else type(module).__name__


def replace_module(network: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of the one at a dotted path."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
