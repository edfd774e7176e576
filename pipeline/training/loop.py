"""The training loop that every DDP worker runs; Ray Train starts one on each rank."""

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
from torch import nn

from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import Batch, load_batches
from pipeline.clips.order import Batches, evaluation_batches, training_batches
from pipeline.cluster import quiet_worker
from pipeline.config import Config, from_dict, to_dict
from pipeline.progress import duration
from pipeline.tracking.runs import Run
from pipeline.training.average import build_average
from pipeline.training.checkpoints import State
from pipeline.training.compute import compiled, distributed_options, lay_out, set_multiplication
from pipeline.training.convolutions import check_device
from pipeline.training.feed import Feed
from pipeline.training.metrics import Sums
from pipeline.training.optimisers import build_optimiser
from pipeline.training.rank import Rank
from pipeline.training.schedules import build_plateau, planned_rate, set_rate
from pipeline.training.starts import set_training_mode
from pipeline.training.statistics import average_statistics, precise_statistics, synchronise
from pipeline.training.step import network_clips, train_step
from pipeline.training.tasks import Task, task_of

SELECT, SELECT_MODE = "val/loss", "min"  # the best checkpoint


@dataclass(frozen=True)
class Job:
    """All that a worker is told: it reads no command line, environment or working directory.

    Attributes:
        config: resolved.
        stream: the network's name: rgb, flow, two_stream for one that takes both, or matching.
        run: of MLflow.
    """

    config: Config
    stream: str
    run: Run

    @property
    def task(self) -> Task:
        """What the network learns."""
        return task_of(self.config, self.stream)

    @property
    def streams(self) -> tuple[str, ...]:
        """What the network takes."""
        return self.task.streams

    def to_dict(self) -> dict[str, Any]:
        """As plain values, the way Ray Train carries it."""
        run = {"uri": self.run.uri, "run_id": self.run.run_id}
        return {"config": to_dict(self.config), "stream": self.stream, "run": run}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Job":
        """The reverse of `to_dict`."""
        return cls(from_dict(Config, values["config"]), values["stream"], Run(**values["run"]))


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
    set_multiplication(config.training.precision, here.device)
    if here.device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // here.world))
    train, val = (job.task.index(split) for split in (config.training.train_split, config.training.val_split))
    model, state = prepare(job, here, len(train.labels))
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state.load(Path(folder), here.device)

    start, first = time.monotonic(), state.epoch
    epochs, steps = config.training.epochs, config.training.steps
    for epoch in range(state.epoch, epochs):
        if (steps is not None and state.step >= steps) or _rate(state) < config.schedule.stop_lr:
            break
        torch.manual_seed(1_000_003 * config.seed + 1_009 * epoch + here.rank)  # dropout
        metrics = train_epoch(job, model, state, train, here, epoch)
        settle_statistics(job, state, train, here, epoch)
        metrics |= validate(job, state.evaluated, val, here)
        metrics["lr"] = _rate(state)
        if state.plateau is not None:
            state.plateau.step(metrics["val/loss"])
        state.epoch, state.history = epoch + 1, [*state.history, metrics]
        report(job, state, here)
        if here.rank == 0:
            # not print: Ray Train turns that into log records, which its log level, raised to spare us its own, drops
            sys.stdout.write(_line(stream, state, epochs, (time.monotonic() - start) / (state.epoch - first)) + "\n")
            sys.stdout.flush()
    return state.history


def prepare(job: Job, here: Rank, num_classes: int) -> tuple[nn.Module, State]:
    """The network as DDP trains it, and all that moves with it.

    Raises:
        ConfigError: a network, weights or an option that the config cannot have.
    """
    config = job.config
    check_device(config.training.precision, here)
    torch.manual_seed(config.seed)
    network, loaded = job.task.network(num_classes)
    if loaded is not None and here.rank == 0:
        job.run.log_text("weights.txt", str(loaded))
    if config.training.sync_batch_norm:
        network = synchronise(network, here.device)
    network = lay_out(network, here.device)
    model = ray.train.torch.prepare_model(network, parallel_strategy_kwargs=distributed_options())
    network = model.module if here.world > 1 else model
    optimiser = build_optimiser(config.optimiser, network)
    average = build_average(network, config.training.average)
    state = State(network, optimiser, build_plateau(config.schedule, optimiser), average)
    return compiled(model, config.training), state


def train_epoch(job: Job, model: nn.Module, state: State, index: ClipIndex, here: Rank, epoch: int) -> dict[str, float]:
    """One pass over the training split, or as much of it as `training.steps` leaves."""
    config, training = job.config, job.config.training
    set_training_mode(config.model, model)
    rows = epoch_batches(config, len(index), here, epoch)
    planned = training.epochs * len(rows) // training.accumulate
    if training.steps is not None:
        planned = min(planned, training.steps)
        rows = rows[: (training.steps - state.step) * training.accumulate]
    sums, start = Sums(), time.monotonic()
    feed = Feed(_training_windows(job, index, rows, here, epoch), here.device)
    for step in _grouped(iter(feed), training.accumulate):
        set_rate(state.optimiser, planned_rate(config.schedule, config.optimiser.lr, state.step, epoch, planned))
        logits = train_step(config, model, step, job.streams, here, state)
        sums.add(logits, torch.cat([batch.labels for batch in step]))
    metrics = sums.all_reduce().means("train")
    seconds = time.monotonic() - start
    return {
        **metrics,
        "perf/clips_per_second": metrics["train/clips"] / seconds,
        "perf/data_wait": feed.waited / seconds,
        "perf/workers": here.world,
    }


def epoch_batches(config: Config, clips: int, here: Rank, epoch: int) -> Batches:
    """This rank's batches of an epoch, `training.accumulate` of them to a step."""
    size, accumulate = config.training.batch_size, config.training.accumulate
    steps = training_batches(clips, size * accumulate, here.rank, here.world, config.seed, epoch)
    return [rows[part * size :][:size] for rows in steps for part in range(accumulate)]


def settle_statistics(job: Job, state: State, index: ClipIndex, here: Rank, epoch: int) -> None:
    """Give the evaluated network batch-norm statistics that are its own, and all ranks the same."""
    if count := job.config.training.precise_batch_norm:
        batches = _training_windows(job, index, epoch_batches(job.config, len(index), here, epoch)[:count], here, epoch)
        set_training_mode(job.config.model, state.evaluated)
        with here.autocast():
            precise_statistics(state.evaluated, (network_clips(batch, job.streams, here) for batch in batches))
    average_statistics(state.model)
    if state.average is not None:
        average_statistics(state.evaluated)


@torch.no_grad()
def validate(job: Job, network: nn.Module, index: ClipIndex, here: Rank) -> dict[str, float]:
    """Every clip of the split exactly once, over all workers.

    Raises:
        AssertionError: a clip was lost or counted twice.
    """
    network.eval()
    config, streams = job.config, job.streams
    index, sample = job.task.validation(index)
    rows = evaluation_batches(sample.lengths(index, streams[0]), config.evaluation.batch_size, here.rank, here.world)
    sums = Sums()
    batches = load_batches(index, streams, rows, sample, config.resources.loader_cpus, share=1 / here.world)
    for batch in Feed(batches, here.device):
        with here.autocast():
            logits = network(*network_clips(batch, streams, here))
        sums.add(logits, batch.labels)
    metrics = sums.all_reduce().means("val")
    assert metrics["val/clips"] == len(index), f"{metrics['val/clips']} of {len(index)} clips validated"  # noqa: S101
    return metrics


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


def _rate(state: State) -> float:
    return state.optimiser.param_groups[0]["lr"]


def _training_windows(job: Job, index: ClipIndex, rows: Batches, here: Rank, epoch: int) -> Iterator[Batch]:
    index, sample = job.task.training(index, epoch)
    cpus = job.config.resources.loader_cpus
    return load_batches(index, job.streams, rows, sample, cpus, share=1 / here.world)


def _grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while group := list(itertools.islice(batches, size)):
        yield group


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
