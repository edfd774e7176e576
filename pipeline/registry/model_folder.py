"""A video classifier in a folder: class names, config and weights, read and written without MLflow.

There are two layouts. MLflow's is that of a registered model which was downloaded, or copied out of its artifacts::

    MLmodel                     names the other files
    artifacts/model.json        the description
    artifacts/rgb.pt            weights of each network

and that which `jobs/export.py` writes::

    model.json
    rgb.pt
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline import plain_yaml
from pipeline.config import VERSION
from pipeline.masking import masked
from pipeline.models.weights import read_weights

DESCRIPTION = "model.json"
MLMODEL = "MLmodel"


class ModelFolderError(ValueError):
    """A folder that holds no video classifier; the message is one line for the user."""


@dataclass(frozen=True)
class StoredClassifier:
    """The parts of a video classifier.

    Attributes:
        labels: class names in the order of the logits.
        config: the config of its training, as a dict.
        weights: local state dict file of each network.
        version: version of this package that stored it; empty if it is not known.
    """

    labels: tuple[str, ...]
    config: dict[str, Any]
    weights: dict[str, Path]
    version: str = ""


def describe(labels: Sequence[str], config: Mapping[str, Any], weights: Mapping[str, str | Path]) -> dict[str, Any]:
    """Return the description of a classifier, without the secrets in its config."""
    known = {stream: read_weights(file).provenance.to_dict() for stream, file in weights.items()}
    about = {"version": VERSION, "labels": list(labels), "streams": list(weights), "networks": known}
    return {**about, "config": masked(dict(config))}


def read_model_folder(folder: str | Path) -> StoredClassifier:
    """Read a video classifier from a folder; no code in it is run.

    Raises:
        ModelFolderError: the folder holds no video classifier of this package, or a file of it is missing.
    """
    top = Path(folder)
    if not (top / MLMODEL).is_file() and not (top / DESCRIPTION).is_file():
        raise ModelFolderError(
            f"{top}: no {MLMODEL} and no {DESCRIPTION} there; give the folder of a downloaded model, or one that "
            "export has written"
        )
    try:
        if (top / MLMODEL).is_file():
            stored = plain_yaml.parse((top / MLMODEL).read_text())["flavors"]["python_function"]["artifacts"]
            named = {name: one["path"] for name, one in stored.items()}
        else:
            named = {"model": DESCRIPTION}
        described = json.loads(_inside(top, named["model"]).read_text())
        weights = {stream: _inside(top, named.get(stream, f"{stream}.pt")) for stream in described["streams"]}
        parts = tuple(map(str, described["labels"])), dict(described["config"]), weights
    except (AttributeError, KeyError, OSError, TypeError, ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ModelFolderError(f"{top}: not a video classifier of this package: {said}") from None
    if gone := [path for path in weights.values() if not path.is_file()]:
        raise ModelFolderError(f"{top}: {gone[0].relative_to(top.resolve())} is missing")
    return StoredClassifier(*parts, str(described.get("version", "")))


def _inside(folder: Path, path: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        ValueError: the path leads out of the folder.
    """
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise ValueError(f"{path!r} leads out of it")
    return file
