"""Comparison of exported files with the network that they come from, on real clips of several shapes."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.clips.normalise import normalise
from pipeline.export.dimensions import LEAST_SIDE, SNAPSHOTS, axes
from pipeline.models.two_stream import STACK

TOLERANCE = 1e-4
"""Largest difference of a logit, as a share of the largest logit."""

Clips = Mapping[str, NDArray[np.uint8]]
"""For each stream, clips (N, T, H, W, C) uint8."""
Run = Callable[[Clips], NDArray[np.float32]]
"""A function from clips to logits (N, classes)."""


@dataclass
class Agreement:
    """How well an exported file agrees with its network.

    Attributes:
        file: name of the file.
        batches: number of batches that both have scored.
        clips: number of clips in them.
        same: number of clips for which both name the same action.
        difference: largest difference of a logit.
        largest: largest absolute logit of the network.
    """

    file: str
    batches: int = 0
    clips: int = 0
    same: int = 0
    difference: float = 0.0
    largest: float = 0.0

    def add(self, expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        """Compare logits, (N, classes) each."""
        self.batches, self.clips = self.batches + 1, self.clips + len(expected)
        self.same += int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
        differences = np.abs(expected - found)
        worst = float(differences.max()) if np.isfinite(differences).all() else math.inf
        self.difference = max(self.difference, worst)
        self.largest = max(self.largest, float(np.abs(expected).max()))

    @property
    def good(self) -> bool:
        """Whether every logit agrees up to `TOLERANCE`."""
        return self.batches > 0 and self.difference <= TOLERANCE * self.largest


def variants(name: str, view: Clips) -> Iterator[Clips]:
    """Yield batches of a view of a real clip, in which every open axis of the network has more than one length.

    They are: the view itself; two clips, the second played backwards; the view without its last quarter; and its upper
    left part, whose height and width differ.

    Args:
        name: name of the network in the registry of networks.
        view: for each stream, one clip, (1, T, H, W, C).
    """
    yield view
    there = {axis.name: axis for axis in axes(name) if not axis.fixed}
    if "batch" in there:
        yield {stream: np.concatenate([clip, clip[:, ::-1]]) for stream, clip in view.items()}
    if "time" in there:
        moments = {stream: clip.shape[1] // _step(name, stream) for stream, clip in view.items()}
        kept = {stream: max(count - count // 4, there["time"].least) for stream, count in moments.items()}
        if kept != moments:
            yield {stream: clip[:, : kept[stream] * _step(name, stream)] for stream, clip in view.items()}
    if "height" in there:
        height, width = next(iter(view.values())).shape[2:4]
        rows, columns = max(height * 3 // 4 | 1, LEAST_SIDE), max(width * 7 // 8 | 1, LEAST_SIDE)
        if rows <= height and columns <= width and (rows, columns) != (height, width):
            yield {stream: clip[:, :, :rows, :columns] for stream, clip in view.items()}


def original(network: nn.Module) -> Run:
    """Return a function that scores clips by a network on the CPU."""

    def run(clips: Clips) -> NDArray[np.float32]:
        levels = {stream: normalise(torch.from_numpy(clip.copy())) for stream, clip in clips.items()}
        with torch.inference_mode():
            return (network(**levels) if len(levels) > 1 else network(*levels.values())).numpy()

    return run


def program_file(path: Path) -> Run:
    """Return a function that scores clips by a program, read from its file."""
    module = torch.export.load(path).module()

    def run(clips: Clips) -> NDArray[np.float32]:
        with torch.inference_mode():
            return module(**{stream: torch.from_numpy(clip.copy()) for stream, clip in clips.items()}).numpy()

    return run


def onnx_file(path: Path) -> Run:
    """Return a function that scores clips by an ONNX file with ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(clips: Clips) -> NDArray[np.float32]:
        return session.run(["logits"], {stream: np.ascontiguousarray(clip) for stream, clip in clips.items()})[0]

    return run


RUNS: Mapping[str, Callable[[Path], Run]] = {".pt2": program_file, ".onnx": onnx_file}
"""How a file of each kind is run."""


def _step(name: str, stream: str) -> int:
    """Return the number of frames of a stream that belong together."""
    return STACK if name in SNAPSHOTS and stream == "flow" else 1
