"""Training speed: our step against a plain PyTorch loop, and our loop reading from a shard set."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from pipeline.benchmarks.devices import one_core, seconds_of
from pipeline.benchmarks.loops import WARM_UP, Subject, Timed, as_floats, eager, ours
from pipeline.clips.loader import Batch, load_batches
from pipeline.clips.order import training_batches
from pipeline.config import ClipsConfig, Config, ConfigError, IngestConfig, ModelConfig, TrainingConfig
from pipeline.models import list_models
from pipeline.progress import Progress
from pipeline.training.precision import autocast_dtype, set_multiplication
from pipeline.training.precision_check import check_device
from pipeline.training.prefetch import Feed
from pipeline.training.rank import Rank
from pipeline.training.tasks import Classification
from pipeline.workers import SMALL_LOADER

DRAWN = 4  # number of random batches, which are used in turn
OURS, EXACT, DEFAULT = "ours", "eager fp32", "eager tf32"


@dataclass(frozen=True)
class Setting:
    """The settings of a measurement.

    Attributes:
        frames: number of frames in a clip; None for the paper's. Networks that take both streams keep the paper's.
        crop: side of a clip in pixels; None for the paper's.
        batch: clips per step.
        steps: steps per turn.
        repeats: number of turns of each loop.
        training: precision and compilation of our step.
    """

    frames: int | None = None
    crop: int | None = None
    batch: int = 8
    steps: int = 10
    repeats: int = 2
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True)
class Speed:
    """Speed of one loop with one network; figures that were not measured are None."""

    network: str
    clip: str
    batch: int
    loop: str
    """ours; eager fp32, in full float32; eager tf32, torch's default of TF32 convolutions, on GPUs only."""
    clips_per_s: float | None
    ratio: float | None
    """Speed relative to eager fp32."""
    step_ms: float | None
    copy_ms: float | None
    """Milliseconds to copy a batch to the GPU, measured on its own."""
    gib: float | None
    """Peak GPU memory in GiB. If GPU memory did not suffice, the figures of the loop are None."""
    mfu: float | None
    """Per cent of the peak, counting a step as the operations of 3 forward passes."""


@dataclass(frozen=True)
class Supply:
    """Speed of our loop with clips from a shard set, decoding included."""

    network: str
    clip: str
    batch: int
    clips_per_s: float
    data_wait: float
    """Per cent of the time in which the device was idle because no batch was ready."""


def compare(names: Sequence[str], setting: Setting, device: torch.device, peak: float) -> Iterator[Speed]:
    """Measure our step and plain loops in turn, on the same network and random clips.

    Args:
        names: the names of the networks.
        setting: the settings, the same for all networks.
        device: the device that trains; a CPU uses one core.
        peak: peak operations a second of the device.
    """
    here = _here(setting, device)
    progress = Progress("turns", len(names) * setting.repeats * len(_kinds(device)))
    for name in names:
        subject = subject_of(name, setting)
        clips = [subject.noise(setting.batch, seed) for seed in range(DRAWN)]
        operations = 3 * 2e9 * subject.gmacs()
        with one_core(device):
            loops = _loops(subject, clips, here)
            for _ in range(setting.repeats):
                for kind, loop in loops.items():
                    loop.turn(setting.steps)
                    progress.advance(note=f"{name}, {kind}")
        rates = {kind: setting.batch / loop.best if loop.best else None for kind, loop in loops.items()}
        exact = rates[EXACT]
        for kind, rate in rates.items():
            yield Speed(
                network=name,
                clip=subject.clip,
                batch=setting.batch,
                loop=kind,
                clips_per_s=rate,
                ratio=rate / exact if rate and exact else None,
                step_ms=1000 * setting.batch / rate if rate else None,
                copy_ms=_copy_ms(clips[0], kind, device) if device.type == "cuda" else None,
                gib=loops[kind].gib,
                mfu=100 * operations * rate / peak if rate else None,
            )


def supply(name: str, setting: Setting, shards: str, device: torch.device) -> Supply:
    """Measure training from the training split of a shard set, as one worker of a cluster does it; needs Ray."""
    here, subject = _here(setting, device), subject_of(name, setting)
    frames, crop = subject.sizes["rgb"]
    task = Classification(
        replace(subject.config, ingest=IngestConfig(shards=shards), clips=ClipsConfig(frames=frames, crop=crop)), "rgb"
    )
    index, sample = task.training(task.index("train"), 0)
    epochs = (training_batches(len(index), setting.batch, 0, 1, 0, epoch) for epoch in itertools.count())
    rows = list(itertools.islice(itertools.chain.from_iterable(epochs), WARM_UP + setting.steps))
    feed = Feed(load_batches(index, ("rgb",), rows, sample, SMALL_LOADER), device)
    _multiply(OURS, setting, device)
    steps = ours(subject, feed, here)
    for _ in range(WARM_UP):
        next(steps)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    waited, start = feed.waited, time.perf_counter()
    for _ in steps:
        pass
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    waits = 100 * (feed.waited - waited) / seconds
    return Supply(name, subject.clip, setting.batch, setting.batch * setting.steps / seconds, waits)


def subject_of(name: str, setting: Setting) -> Subject:
    """Return the network of a name, with clips of the size in the settings.

    Raises:
        ConfigError: the network does not exist.
    """
    known = {info.name: info for info in list_models()}
    if name not in known:
        raise ConfigError(f"--networks {name}: no such network; there are {', '.join(known)}")
    clips = known[name].clips
    alone = setting.frames if len(clips) == 1 else None
    sizes = {
        "rgb" if len(clips) == 1 else stream: (alone or frames, setting.crop or side)
        for stream, (_, frames, side) in clips.items()
    }
    options = {"size": setting.crop} if setting.crop and "size" in known[name].options else {}
    model = ModelConfig(name=name, streams=tuple(sizes), options=options)  # type: ignore[arg-type]
    return Subject(known[name], Config(model=model, training=setting.training), sizes)


def _kinds(device: torch.device) -> tuple[str, ...]:
    return (OURS, EXACT, DEFAULT) if device.type == "cuda" else (OURS, EXACT)


def _loops(subject: Subject, clips: Sequence[Batch], here: Rank) -> dict[str, Timed]:
    setting = Setting(training=subject.config.training)

    def start(kind: str) -> Iterator[object]:
        if kind == OURS:
            return ours(subject, Feed(itertools.cycle(clips), here.device), here)
        return eager(subject, clips, here)

    return {
        kind: Timed(partial(start, kind), partial(_multiply, kind, setting, here.device), here.device)
        for kind in _kinds(here.device)
    }


def _multiply(kind: str, setting: Setting, device: torch.device) -> None:
    """Set the float32 precision of matrix products and convolutions for a loop."""
    if device.type == "cuda":
        set_multiplication(setting.training.precision if kind == OURS else "fp32", device)
        if kind == DEFAULT:
            torch.backends.cudnn.allow_tf32 = True  # torch's default has TF32 for convolutions only


def _here(setting: Setting, device: torch.device) -> Rank:
    precision = setting.training.precision
    here = Rank(0, 1, device, autocast_dtype(precision, device))
    set_multiplication(precision, device)
    check_device(precision, here)
    return here


def _copy_ms(batch: Batch, kind: str, device: torch.device) -> float:
    windows = [w if kind == OURS else as_floats(w, device) for w in batch.windows.values()]
    pinned = [window.pin_memory() for window in windows]
    return 1000 * min(seconds_of(lambda: [each.to(device) for each in pinned], device) for _ in range(5))
