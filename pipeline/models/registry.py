"""Registry of all networks by name: how to build each one, where it comes from, what it costs."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from torch import nn

from pipeline.models import densenet3d, resnet3d, t3d
from pipeline.models.c3d import C3D
from pipeline.models.convnet_lstm import ConvNetLSTM
from pipeline.models.i3d import I3D, TwoStreamI3D
from pipeline.models.i3d_resnet import I3DResNet50
from pipeline.models.inflated import inflated
from pipeline.models.two_stream import FusedSingleStream, FusedTwoStream, SingleStream, TwoStream

QUO_VADIS = "Quo Vadis, Action Recognition? (arXiv 1705.07750)"
NON_LOCAL = "Non-local Neural Networks (arXiv 1711.07971)"
T3D = "Temporal 3D ConvNets (arXiv 1711.08200)"
RESNET3D = "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet? (arXiv 1711.09577)"

Clip = tuple[int, int, int]  # channels, frames, height = width


@dataclass(frozen=True)
class ModelInfo:
    """One network of the registry.

    Attributes:
        name: name for `create_model`.
        build: function that builds the network, called with `num_classes` and the options, all by keyword.
        paper: title and arXiv number.
        table: table or figure of the paper that describes the network.
        clips: the paper's training clip for each input of `forward`, as (channels, frames, size in pixels).
        parameters: number of trainable parameters with 400 classes and default options.
        gmacs: billions of multiply-adds of convolutions and linear layers for one such clip.
        protocol: name of its published test protocol in `pipeline.evaluation.protocols`.
    """

    name: str
    build: Callable[..., nn.Module]
    paper: str
    table: str
    clips: dict[str, Clip]
    parameters: int
    gmacs: float
    protocol: str

    def __str__(self) -> str:
        return self.name

    @property
    def options(self) -> tuple[str, ...]:
        """Return the names of the keyword options that `create_model` takes for this network."""
        return tuple(name for name in inspect.signature(self.build).parameters if name != "num_classes")


RGB_64: Clip = (3, 64, 224)
FLOW_64: Clip = (2, 64, 224)
RGB_32: Clip = (3, 32, 224)
RGB_16: Clip = (3, 16, 112)


def _t3d(name: str, parameters: int, gmacs: float) -> ModelInfo:
    return ModelInfo(name, partial(t3d.T3D, t3d.TABLE[name]), T3D, "Table 1", {"x": RGB_32}, parameters, gmacs, "t3d")


def _densenet(name: str, parameters: int, gmacs: float) -> ModelInfo:
    build = partial(densenet3d.DenseNet3D, *densenet3d.TABLE[name])
    return ModelInfo(name, build, T3D, "Table 1", {"x": RGB_32}, parameters, gmacs, "t3d")


def _resnet(name: str, parameters: int, gmacs: float) -> ModelInfo:
    network = resnet3d.PreActResNet3D if name.startswith("preact") else resnet3d.ResNet3D
    build = partial(network, resnet3d.TABLE[name])
    return ModelInfo(name, build, RESNET3D, "Table 1", {"x": RGB_16}, parameters, gmacs, "resnet3d")


def _hara_densenet(name: str, parameters: int, gmacs: float) -> ModelInfo:
    build = partial(densenet3d.HaraDenseNet3D, *densenet3d.TABLE[name])
    return ModelInfo(name, build, RESNET3D, "Table 1", {"x": RGB_16}, parameters, gmacs, "resnet3d")


MODELS: dict[str, ModelInfo] = {
    info.name: info
    for info in (
        ModelInfo("i3d", I3D, QUO_VADIS, "Table 1 (e), Figure 3", {"x": RGB_64}, 12_697_264, 111.153, "i3d"),
        ModelInfo(
            "two_stream_i3d",
            TwoStreamI3D,
            QUO_VADIS,
            "Table 1 (e)",
            {"rgb": RGB_64, "flow": FLOW_64},
            25_372_576,
            213.495,
            "i3d",
        ),
        ModelInfo("i3d_resnet50", I3DResNet50, NON_LOCAL, "Table 1", {"x": (3, 8, 224)}, 28_043_472, 28.408, "views"),
        ModelInfo(
            "convnet_lstm", ConvNetLSTM, QUO_VADIS, "Table 1 (a)", {"x": (3, 25, 224)}, 8_958_000, 37.513, "lstm"
        ),
        ModelInfo("c3d", C3D, QUO_VADIS, "Table 1 (b)", {"x": RGB_16}, 79_656_464, 19.821, "c3d"),
        ModelInfo(
            "two_stream",
            TwoStream,
            QUO_VADIS,
            "Table 1 (c)",
            {"rgb": (3, 1, 224), "flow": (2, 10, 224)},
            12_073_120,
            3.664,
            "two_stream",
        ),
        ModelInfo(
            "single_stream", SingleStream, QUO_VADIS, "Table 2 (c)", {"x": (3, 1, 224)}, 6_009_904, 1.498, "two_stream"
        ),
        ModelInfo(
            "fused_two_stream",
            FusedTwoStream,
            QUO_VADIS,
            "Table 1 (d)",
            {"rgb": (3, 5, 224), "flow": (2, 50, 224)},
            39_770_896,
            25.254,
            "two_stream",
        ),
        ModelInfo(
            "fused_single_stream",
            FusedSingleStream,
            QUO_VADIS,
            "Table 2 (d)",
            {"x": (3, 5, 224)},
            19_961_904,
            10.955,
            "two_stream",
        ),
        ModelInfo("inflated", inflated, QUO_VADIS, "Section 2.4", {"x": RGB_64}, 47_018_576, 192.600, "views"),
        _t3d("t3d121", 29_876_880, 244.098),
        _t3d("t3d169", 38_519_184, 247.852),
        _densenet("densenet3d121", 11_658_896, 62.546),
        _densenet("densenet3d169", 19_214_992, 64.862),
        _resnet("resnet3d18", 33_235_280, 8.296),
        _resnet("resnet3d34", 63_544_912, 12.685),
        _resnet("resnet3d50", 47_018_576, 10.069),
        _resnet("resnet3d101", 86_064_720, 13.891),
        _resnet("resnet3d152", 118_223_440, 18.611),
        _resnet("resnet3d200", 127_423_056, 25.805),
        _resnet("preact_resnet3d200", 127_419_088, 25.805),
        _resnet("wide_resnet3d50", 158_248_272, 26.240),
        _resnet("resnext3d101", 48_340_816, 9.568),
        _hara_densenet("hara_densenet3d121", 11_696_528, 10.404),
        _hara_densenet("hara_densenet3d201", 26_143_120, 11.243),
    )
}


def create_model(name: str, num_classes: int, **options: object) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: a name of `list_models()`, for example `"i3d"`.
        num_classes: width of the classifier.
        **options: options of the network; `ModelInfo.options` lists their names.

    Raises:
        ValueError: the name or an option is unknown (the message suggests the nearest known one), or a value is wrong.
    """
    if name not in MODELS:
        raise ValueError(f'unknown model "{name}": {_nearest(name, MODELS)}')
    info = MODELS[name]
    for option in options:
        if option not in info.options:
            raise ValueError(f'model "{name}" has no option "{option}": {_nearest(option, info.options)}')
    if num_classes < 1:
        raise ValueError(f'model "{name}": num_classes is {num_classes}, must be 1 or more')
    return info.build(num_classes=num_classes, **options)


def list_models(pattern: str = "*") -> list[ModelInfo]:
    """Return the networks whose names match a shell pattern such as `"resnet3d*"`, in the papers' order."""
    return [info for name, info in MODELS.items() if fnmatchcase(name, pattern)]


def _nearest(wrong: str, right: Iterable[str]) -> str:
    names = list(right)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.4)
    return (f'did you mean "{close[0]}"? ' if close else "") + "There are: " + (", ".join(names) or "none")
