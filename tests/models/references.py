"""Stored outputs of public implementations, and the rule that their weights and inputs were made by.

The files lie in the folder that the variable FIXTURES_DIR names, by default shared/fixtures beside the checkout.
"""

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

CHECKOUT = Path(__file__).parents[2]
COPIES = Path(__file__).parent / "fixtures"
FIXTURES = Path(os.environ.get("FIXTURES_DIR", CHECKOUT.parent / "shared" / "fixtures"))


@dataclass(frozen=True)
class Reference:
    clip: Tensor
    state: dict[str, Tensor]
    output: Tensor
    parameters: int


def fixture(name: str) -> Path:
    """A file of the fixtures folder, or its copy beside these tests; skips the test where there is neither."""
    for path in (FIXTURES / name, COPIES / name):
        if path.exists():
            return path
    pytest.skip(f"{name} is not in {FIXTURES}: set FIXTURES_DIR to the folder that holds it")


def load_reference(name: str) -> Reference:
    stored = json.loads(fixture(name).read_text())
    shape = stored["input_shape"]
    clip = np.random.RandomState(7).uniform(-1, 1, shape).astype(np.float32)
    return Reference(
        clip=torch.from_numpy(clip),
        state={key: rule_weight(key, tuple(shape)) for key, shape in stored["state"].items()},
        output=torch.tensor(stored["output"]).reshape(stored["output_shape"]),
        parameters=stored["parameters"],
    )


def rule_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """The values of one entry of a state dict, a function of its name and shape alone."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    normal = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        normal = np.abs(normal) * 0.5 + 0.75
    elif name.endswith("running_mean"):
        normal = normal * 0.1
    elif len(shape) >= 2:
        normal = normal * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    elif name.endswith("weight"):
        normal = 1 + 0.1 * normal
    else:
        normal = normal * 0.1
    return torch.from_numpy(np.asarray(normal, dtype=np.float32))


def relative_error(output: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest absolute output."""
    return float((output - expected).abs().max() / expected.abs().max())
