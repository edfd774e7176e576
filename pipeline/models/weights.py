"""Reading and writing of weights files, which carry the provenance of the weights.

A file written here is a state dict that `torch.load` can read for any network; its provenance is in the metadata that
PyTorch keeps with a state dict. Files from other projects have no provenance; only their tensors are known.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

_PROVENANCE = "provenance"  # key in the metadata, beside module names; no module has this name


class WeightsError(ValueError):
    """Weights that cannot be loaded; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True)
class Provenance:
    """Provenance of weights: their classes, data set, network and input.

    Attributes:
        labels: class names in the order of the logits; empty if there are no classes or they are unknown.
        dataset: name of the data set that the weights were trained on.
        digest: digest of the shard set of this data set.
        model: name of the network.
        stream: rgb, flow, or two_stream for a network that takes both.
        input: what the network expects: frames, stride, fps, short_side, crop, rgb_every; levels for RGB; flow_bound
            and flow_backend for flow.
    """

    labels: tuple[str, ...] = ()
    dataset: str = ""
    digest: str = ""
    model: str = ""
    stream: str = ""
    input: dict[str, Any] = field(default_factory=dict)

    def rows(self, labels: Sequence[str]) -> list[int] | None:
        """Return for each of these classes its index among the weights' classes; None if the sets of names differ."""
        at = {name: place for place, name in enumerate(self.labels)}
        if len(labels) != len(self.labels) or at.keys() != set(labels):
            return None
        return [at[name] for name in labels]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Provenance":
        """Build from plain values; unknown keys, which a later version may have added, are ignored."""
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        return cls(**{**known, "labels": tuple(known.get("labels", ()))})

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {**asdict(self), "labels": list(self.labels)}


@dataclass(frozen=True)
class Weights:
    """Content of a weights file.

    Attributes:
        state: tensors by entry name.
        provenance: provenance of the tensors; empty if the file does not state it.
    """

    state: dict[str, Tensor]
    provenance: Provenance


def with_provenance(state: Mapping[str, Tensor], provenance: Provenance) -> "OrderedDict[str, Tensor]":
    """Return a state dict that carries its provenance and can be stored by `torch.save`."""
    named = OrderedDict(state)
    named._metadata = {**getattr(state, "_metadata", {}), _PROVENANCE: provenance.to_dict()}  # type: ignore[attr-defined]
    return named


def save_weights(state: Mapping[str, Tensor], provenance: Provenance, file: str | Path | IO[bytes]) -> None:
    """Store a state dict with its provenance."""
    torch.save(with_provenance(state, provenance), file)


def read_weights(path: str | Path, device: torch.device | str = "cpu") -> Weights:
    """Read a weights file, written by this project or by another.

    Raises:
        WeightsError: there is no such file, it is broken, or it holds something else.
    """
    content = unwrapped(read_tensors(path, device))
    metadata = getattr(content, "_metadata", {})
    return Weights(plain_tensors(str(path), content), Provenance.from_dict(metadata.get(_PROVENANCE, {})))


def read_tensors(path: str | Path, device: torch.device | str = "cpu") -> Any:
    """Read tensors, numbers, texts, lists and dicts that `torch.save` stored; no code in the file is run.

    Raises:
        WeightsError: there is no such file, it is broken, or it holds something else.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a broken or hostile file may fail in any way
        raise WeightsError(f"{path}: {_reason(error)}") from error


def unwrapped(content: Any) -> Any:
    """Return the state dict in a file's content, which may be wrapped: {"epoch": ..., "state_dict": {...}}."""
    for wrapper in ("state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    return content


def plain_tensors(name: str, content: object) -> dict[str, Tensor]:
    """Check that content is a state dict and return it.

    Raises:
        WeightsError: the content is not a state dict.
    """
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{name}: holds no state dict but {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or not _is_plain(value):
            raise WeightsError(f"{name}: entry {key!r} is not a tensor of plain numbers, is this a state dict?")
    return dict(content)


def in_rows(network: nn.Module, state: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Return a network's state dict with the classes of its classifier in another order.

    Args:
        network: the network that the state belongs to.
        state: the state dict.
        rows: for each class, its index in `state`.
    """
    heads = classifier(network)
    return {name: value[list(rows)] if name in heads else value for name, value in state.items()}


def classifier(network: nn.Module) -> frozenset[str]:
    """Return the names of the entries of a network's state dict that have a row for each class."""
    head = str(getattr(network, "head", "fc"))
    places = [trunk + head for trunk in (*getattr(network, "trunks", ()), "")]
    return frozenset(f"{place}.{value}" for place in places for value in ("weight", "bias"))


def _is_plain(value: Tensor) -> bool:
    return value.layout == torch.strided and not (value.is_quantized or value.is_complex() or value.is_meta)


def _reason(error: Exception) -> str:
    """Describe what is wrong with a file, without PyTorch's advice to run the code in it."""
    text = str(error).strip()
    if "TorchScript" in text:
        return "cannot be read as weights: a TorchScript archive; store model.state_dict() with torch.save"
    if "weights_only" in text:
        named = re.search(r"GLOBAL ([\w.]+)", text)
        what = f" ({named[1]})" if named else ""
        return (
            f"cannot be read as weights: it holds Python objects{what} beside tensors, and to load these could run any "
            "code; store model.state_dict() alone with torch.save"
        )
    return f"cannot be read as weights, is it complete? ({(text or type(error).__name__).splitlines()[0]})"
