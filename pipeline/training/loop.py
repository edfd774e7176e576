"""The training loop that every DDP worker runs; Ray Train starts one on each rank."""

import inspect
import itertools
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import Batch, load_batches
from pipeline.clips.normalise import normalise
from pipeline.clips.order import evaluation_batches, training_batches
from pipeline.clips.sampling import CentreSampler, TrainingSampler
from pipeline.cluster import quiet_worker
from pipeline.config import Config, from_dict, to_dict
from pipeline.networks import build_network
from pipeline.progress import duration
from pipeline.shards import ShardError
from pipeline.tracking.runs import Run
from pipeline.training.checkpoints import State
from pipeline.training.metrics import Sums

SELECT, SELECT_MODE = "val/loss", "min"  # the best checkpoint


@dataclass(frozen=True)
class Job:
    """All that a worker is told: it reads no command line, environment or working directory."""

    config: Config
    stream: str
    run: Run

    def to_dict(self) -> dict[str, Any]:
        """As plain values, the way Ray Train carries it."""
        run = {"uri": self.run.uri, "run_id": self.run.run_id}
        return {"config": to_dict(self.config), "stream": self.stream, "run": run}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Job":
        """The reverse of `to_dict`."""
        return cls(from_dict(Config, values["config"]), values["stream"], Run(**values["run"]))


@dataclass(frozen=True)
class Rank:
    """This worker's place among the others, and its device."""

    rank: int
    world: int
    device: torch.device
    dtype: torch.dtype | None  # of autocast

    @classmethod
    def here(cls, precision: str) -> "Rank":
        """Inside a Ray Train worker."""
        context, device = ray.train.get_context(), ray.train.torch.get_device()
        bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
        return cls(context.get_world_rank(), context.get_world_size(), device, torch.bfloat16 if bf16 else None)

    def autocast(self) -> torch.autocast:
        """The precision of forward passes."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)


def train_loop(values: Mapping[str, Any]) -> list[dict[str, float]]:
    """Train one stream; the metrics of every epoch.

    Every epoch ends with an exact validation, a checkpoint and a report. After a restart the loop goes on behind the
    last epoch that was reported.
    """
    quiet_worker()
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view")  # 1x1x1 kernels have no one layout
    job = Job.from_dict(values)
    config, stream = job.config, job.stream
    here = Rank.here(config.training.precision)
    if here.device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // here.world))
    train, val = (
        labelled(ClipIndex.load(config.ingest.shards, split))
        for split in (config.training.train_split, config.training.val_split)
    )
    torch.manual_seed(config.seed)
    network = build_network(config.model, stream, len(train.labels))
    if here.device.type == "cuda":  # on CPUs the same layout made training slower, 10 clips a second instead of 17
        network = network.to(memory_format=torch.channels_last_3d)
    model = ray.train.torch.prepare_model(network, parallel_strategy_kwargs=_local_statistics())
    state = _state(config, model.module if here.world > 1 else model)
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state.load(Path(folder), here.device)

    start, first = time.monotonic(), state.epoch
    epochs, steps = config.training.epochs, config.training.steps
    for epoch in range(state.epoch, epochs):
        if (steps is not None and state.step >= steps) or _rate(state) < config.schedule.stop_lr:
            break
        torch.manual_seed(1_000_003 * config.seed + 1_009 * epoch + here.rank)  # dropout
        metrics = train_epoch(config, stream, model, state, train, here, epoch)
        average_statistics(state.model)
        metrics |= validate(config, stream, state.model, val, here)
        metrics["lr"] = _rate(state)
        state.plateau.step(metrics["val/loss"])
        state.epoch, state.history = epoch + 1, [*state.history, metrics]
        report(job, state, here)
        if here.rank == 0:
            # not print: Ray Train turns that into log records, which its log level, raised to spare us its own, drops
            sys.stdout.write(_line(stream, state, epochs, (time.monotonic() - start) / (state.epoch - first)) + "\n")
            sys.stdout.flush()
    return state.history


def train_epoch(
    config: Config, stream: str, model: nn.Module, state: State, index: ClipIndex, here: Rank, epoch: int
) -> dict[str, float]:
    """One pass over the training split, or as much of it as `training.steps` leaves."""
    model.train()
    rows = training_batches(len(index), config.training.batch_size, here.rank, here.world, config.seed, epoch)
    if config.training.steps is not None:
        rows = rows[: config.training.steps - state.step]
    sample = TrainingSampler(config.clips, config.seed, epoch)
    batches = load_batches(index, (stream,), rows, sample, config.resources.loader_cpus, share=1 / here.world)
    sums, start, clock = Sums(), time.monotonic(), Clock()
    for batch in clock.waiting(batches):
        warm_up(config, state)
        logits = train_step(config, model, batch, stream, here, state)
        sums.add(logits, batch.labels)
        state.step += 1
    metrics = sums.all_reduce().means("train")
    seconds = time.monotonic() - start
    return {
        **metrics,
        "perf/clips_per_second": metrics["train/clips"] / seconds,
        "perf/data_wait": clock.waited / seconds,
        "perf/workers": here.world,
    }


def train_step(config: Config, model: nn.Module, batch: Batch, stream: str, here: Rank, state: State) -> torch.Tensor:
    """Forward, backward, update; the logits, (N, classes).

    Raises:
        FloatingPointError: the loss is not finite; the network is left as it was.
    """
    windows, labels = batch.windows[stream].to(here.device, non_blocking=True), batch.labels.to(here.device)
    with here.autocast():
        logits = model(normalise(windows))
        loss = F.cross_entropy(logits, labels)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"{stream}: loss is {loss.item()} at step {state.step}; lower optimiser.lr")
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if config.training.clip_gradient is not None:
        nn.utils.clip_grad_norm_(model.parameters(), config.training.clip_gradient)
    state.optimiser.step()
    return logits


@torch.no_grad()
def validate(config: Config, stream: str, model: nn.Module, index: ClipIndex, here: Rank) -> dict[str, float]:
    """Every clip of the split exactly once, over all workers.

    Raises:
        AssertionError: a clip was lost or counted twice.
    """
    model.eval()
    sample = CentreSampler(config.clips, config.evaluation.val_frames)
    rows = evaluation_batches(sample.lengths(index, stream), config.evaluation.batch_size, here.rank, here.world)
    sums = Sums()
    for batch in load_batches(index, (stream,), rows, sample, config.resources.loader_cpus, share=1 / here.world):
        with here.autocast():
            logits = model(normalise(batch.windows[stream].to(here.device, non_blocking=True)))
        sums.add(logits, batch.labels)
    metrics = sums.all_reduce().means("val")
    assert metrics["val/clips"] == len(index), f"{metrics['val/clips']} of {len(index)} clips validated"  # noqa: S101
    return metrics


def average_statistics(model: nn.Module) -> None:
    """Give all ranks the mean of their batch-norm statistics, so that they evaluate and store one network."""
    if not dist.is_initialized():
        return
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            dist.all_reduce(buffer)
            buffer /= dist.get_world_size()


def warm_up(config: Config, state: State) -> None:
    """Raise the learning rate linearly over the first steps."""
    if state.step < config.schedule.warmup_steps:
        for group in state.optimiser.param_groups:
            group["lr"] = config.optimiser.lr * (state.step + 1) / config.schedule.warmup_steps


def report(job: Job, state: State, here: Rank) -> None:
    """Hand metrics and checkpoint to Ray Train, a barrier for all ranks, and metrics to MLflow from rank 0."""
    metrics = state.history[-1]
    if here.rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        state.save(Path(folder), job.config)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
    job.run.log_metrics(metrics, step=state.epoch)


def labelled(index: ClipIndex) -> ClipIndex:
    """The index, if every clip of it has a label.

    Raises:
        ShardError: saying how many have none.
    """
    if (index.label < 0).any():
        raise ShardError(
            f"{index.shards}: {(index.label < 0).sum()} of {len(index)} clips of {index.split!r} have no label"
        )
    return index


class Clock:
    """Measures how long the loop waits for data."""

    def __init__(self) -> None:
        self.waited = 0.0

    def waiting(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; the time until each comes is added to `waited`."""
        for _ in itertools.count():
            start = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - start
            if batch is None:
                return
            yield batch


def _rate(state: State) -> float:
    return state.optimiser.param_groups[0]["lr"]


def _local_statistics() -> dict[str, bool]:
    """DDP's option to leave batch-norm statistics to each rank between evaluations, under its name of this torch."""
    names = inspect.signature(nn.parallel.DistributedDataParallel.__init__).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": False}


def _state(config: Config, model: nn.Module) -> State:
    settings, schedule = config.optimiser, config.schedule
    optimiser = SGD(model.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    plateau = ReduceLROnPlateau(optimiser, factor=schedule.factor, patience=schedule.patience, min_lr=schedule.min_lr)
    return State(model, optimiser, plateau)


def _line(stream: str, state: State, epochs: int, seconds_an_epoch: float) -> str:
    """Such as `flow epoch 3/12: train 1.52 (45.0 %), val 1.31 (52.5 % of 80 clips), 14.2 clips/s, 3:10 left`."""
    last = state.history[-1]
    return (
        f"{stream} epoch {state.epoch}/{epochs}: "
        f"train {last['train/loss']:.2f} ({100 * last['train/top1']:.1f} %), "
        f"val {last['val/loss']:.2f} ({100 * last['val/top1']:.1f} % of {last['val/clips']:.0f} clips), "
        f"lr {last['lr']:.2g}, {last['perf/clips_per_second']:.1f} clips/s, "
        f"data wait {100 * last['perf/data_wait']:.0f} %, {duration((epochs - state.epoch) * seconds_an_epoch)} left"
    )
