"""The training loops that are measured: our step and a plain PyTorch loop, on the same network and clips."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.benchmarks.devices import seconds_of
from pipeline.clips.loader import Batch
from pipeline.clips.normalise import Planes, normalise
from pipeline.clips.streams import CHANNELS
from pipeline.config import Config
from pipeline.models.cost import count_gmacs
from pipeline.models.registry import ModelInfo
from pipeline.networks import build_network, network_inputs
from pipeline.training.checkpoints import State
from pipeline.training.optimisers import build_optimiser
from pipeline.training.precision import compiled, lay_out
from pipeline.training.prefetch import Feed
from pipeline.training.rank import Rank
from pipeline.training.step import train_step

CLASSES = 400
WARM_UP = 3  # steps


@dataclass(frozen=True)
class Subject:
    """A network to be trained.

    Attributes:
        info: the network's entry in the registry.
        config: the config of the training.
        sizes: number of frames and side in pixels of each input stream.
    """

    info: ModelInfo
    config: Config
    sizes: dict[str, tuple[int, int]]

    @property
    def clip(self) -> str:
        """The input size as text, such as 64x224x224x3."""
        return " + ".join(f"{t}x{side}x{side}x{CHANNELS[stream]}" for stream, (t, side) in self.sizes.items())

    def build(self) -> nn.Module:
        """Return the network with fresh weights."""
        (stream,) = network_inputs(self.config.model)
        return build_network(self.config.model, stream, CLASSES)

    def gmacs(self) -> float:
        """Return the billions of multiply-adds of a forward pass over one clip."""
        with torch.device("meta"):
            clips = [torch.empty(1, CHANNELS[stream], t, side, side) for stream, (t, side) in self.sizes.items()]
            return count_gmacs(self.build().eval(), **dict(zip(self.info.clips, clips, strict=True)))

    def noise(self, clips: int, seed: int) -> Batch:
        """Return a batch of random clips, which needs no loader."""
        draw = torch.Generator().manual_seed(seed)
        windows = {
            stream: torch.randint(256, (clips, t, side, side, CHANNELS[stream]), dtype=torch.uint8, generator=draw)
            for stream, (t, side) in self.sizes.items()
        }
        return Batch(windows, torch.randint(CLASSES, (clips,), generator=draw), torch.arange(clips))


def ours(subject: Subject, feed: Feed, here: Rank) -> Iterator[object]:
    """Train with the step of our training; each element that is yielded is one step."""
    config, network = subject.config, lay_out(subject.build(), here.device).to(here.device).train()
    model, state = compiled(network, config.training), State(network, build_optimiser(config.optimiser, network))
    for batch in feed:
        yield train_step(config.training, config.seed, model, [batch], tuple(subject.sizes), here, state)


def eager(subject: Subject, clips: Sequence[Batch], here: Rank) -> Iterator[object]:
    """Train as in a textbook: channels-first floats from the loader, no autocast, plain SGD with momentum."""
    network = subject.build().to(here.device).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    drawn = [([as_floats(each.windows[name], here.device) for name in subject.sizes], each.labels) for each in clips]
    while True:
        for inputs, labels in drawn:
            x = [each.to(here.device, non_blocking=True) for each in inputs]
            y = labels.to(here.device, non_blocking=True)
            optimiser.zero_grad()
            loss = F.cross_entropy(network(*x), y)
            loss.backward()
            optimiser.step()
            yield loss


def as_floats(windows: Tensor | Planes, device: torch.device) -> Tensor:
    """Convert (N, T, H, W, C) uint8 to (N, C, T, H, W) floats, pinned for a GPU.

    Usual loaders return clips like this, converted in other processes.
    """
    clips = normalise(windows).contiguous()
    return clips.pin_memory() if device.type == "cuda" else clips


class Timed:
    """A training loop that is warmed up when it is created, and then timed.

    Attributes:
        best: seconds per step in the fastest turn; None before the first turn, and if GPU memory does not suffice.
        gib: peak GPU memory of the loop in GiB, network included; None on a CPU, and if GPU memory does not suffice.
    """

    def __init__(
        self, make: Callable[[], Iterator[object]], multiply: Callable[[], None], device: torch.device
    ) -> None:
        self.multiply, self.device = multiply, device
        self.best: float | None = None
        self.gib: float | None = None
        self.steps: Iterator[object] = iter(())
        cuda = device.type == "cuda"
        before = torch.cuda.memory_allocated(device) if cuda else 0
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        multiply()
        try:
            steps = make()
            for _ in range(WARM_UP):
                next(steps)
            self.steps = steps
        except torch.OutOfMemoryError:
            return
        if cuda:
            self.gib = (torch.cuda.max_memory_allocated(device) - before) / 2**30

    def turn(self, steps: int) -> None:
        """Time the given number of steps."""
        self.multiply()
        done: list[object] = []
        seconds = seconds_of(lambda: done.extend(0 for _ in itertools.islice(self.steps, steps)), self.device)
        if done:
            self.best = min(seconds / steps, self.best or math.inf)
