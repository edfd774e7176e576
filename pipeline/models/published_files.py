"""Published files that are had by a name, and what the network must be like that takes them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.models.inflation import torchvision_file


@dataclass(frozen=True)
class PublishedFile:
    """A file and its network.

    Attributes:
        network: a name of `list_models()`.
        options: the options of `create_model` with which it fits.
        levels: the levels of the clips that it was trained on.
    """

    network: str
    options: Mapping[str, object]
    levels: str


PUBLISHED_FILES: dict[str, PublishedFile] = {  # by torchvision's names
    "r3d_18": PublishedFile("resnet3d18", {"shortcut": "B", "stem_depth": 3, "stem_pool": False}, "kinetics"),
}


def published_file(weights: str) -> PublishedFile | None:
    """What is known of weights by their name, or that of their file, such as `r3d_18-b3b3357e.pth`."""
    name = Path(weights).name
    return next((file for known, file in PUBLISHED_FILES.items() if re.fullmatch(rf"{known}(-.*)?", name)), None)


def named_weights(name: str) -> Path:
    """A published file by its name in `PUBLISHED_FILES`, downloaded at the first call.

    Raises:
        ConnectionError: the file cannot be had; says which one to bring.
    """
    return torchvision_file(name)
