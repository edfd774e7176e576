"""Published weights files that can be requested by name, and the networks that they fit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.models.inflation import torchvision_file


@dataclass(frozen=True)
class PublishedFile:
    """A published file and the network that it fits.

    Attributes:
        network: a name in `list_models()`.
        options: the options of `create_model` with which the file fits.
        levels: the range of the RGB input that the weights expect; see `ModelConfig.levels`.
    """

    network: str
    options: Mapping[str, object]
    levels: str


PUBLISHED_FILES: dict[str, PublishedFile] = {  # by torchvision's names
    "r3d_18": PublishedFile("resnet3d18", {"shortcut": "B", "stem_depth": 3, "stem_pool": False}, "kinetics"),
}


def published_file(weights: str) -> PublishedFile | None:
    """Look up weights by their name or by that of their file, such as `r3d_18-b3b3357e.pth`; None if unknown."""
    name = Path(weights).name
    return next((file for known, file in PUBLISHED_FILES.items() if re.fullmatch(rf"{known}(-.*)?", name)), None)


def named_weights(name: str) -> Path:
    """Return the path of a published file by its name in `PUBLISHED_FILES`; the first call downloads it.

    Raises:
        ConnectionError: the file cannot be downloaded; the message says which one to bring.
    """
    return torchvision_file(name)
