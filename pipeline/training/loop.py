"""The training loop that every DDP worker runs; Ray Train starts one on each rank."""

import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train.collective import broadcast_from_rank_zero
from torch import nn

from pipeline.clips.fraction import fraction_of
from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import shared
from pipeline.cluster import quiet_worker
from pipeline.config import Config, load
from pipeline.models.weights import Provenance
from pipeline.shards import read_manifest
from pipeline.tracking.environment import environment, system_metrics
from pipeline.tracking.outages import impatient, tolerated
from pipeline.training.batch_norm import synchronise
from pipeline.training.checkpoints import Position, State
from pipeline.training.consensus import with_consensus
from pipeline.training.ema import build_average
from pipeline.training.job import Job
from pipeline.training.learning_rate import build_plateau
from pipeline.training.live_metrics import LiveMetrics
from pipeline.training.optimisers import build_optimiser
from pipeline.training.precision import compiled, distributed_options, lay_out, set_multiplication, threads
from pipeline.training.precision_check import check_device
from pipeline.training.provenance import provenance_of
from pipeline.training.rank import Rank
from pipeline.training.reporting import Occasions, report_epoch, report_inside, tell_epoch
from pipeline.training.step_progress import Steps
from pipeline.training.train_epoch import settle_statistics, train_epoch
from pipeline.training.validation import validate


def train_loop(values: Mapping[str, Any]) -> list[dict[str, float]]:
    """Train one stream and return the metrics of every epoch.

    Every epoch ends with an exact validation, a checkpoint and a report. After a restart the loop resumes from the last
    checkpoint that was reported, at the end of an epoch or inside it.
    """
    job = Job.from_dict(values)
    quiet_worker(job.label)
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view")  # strides of 1x1x1 kernels are ambiguous
    config = job.config
    here = Rank.here(config.training.precision)
    set_multiplication(config.training.precision, here.device)
    if here.device.type == "cpu":
        torch.set_num_threads(threads(config.resources))
    train, val = indices(job, here)
    model, state = prepare(job, here, provenance_of(config, job.stream, read_manifest(config.ingest.shards)))
    go_on(job, state, here)
    occasions = Occasions(config.training.checkpoint_steps)

    def after_step() -> None:
        if occasions.due(state.position.steps):
            report_inside(job, state, here)

    start, first = time.monotonic(), state.epoch
    told = Steps(job, state) if here.rank == 0 else None
    if here.rank == 0:
        LiveMetrics(config.name, job.stream).checkpoint()  # nothing is lost if it ends now
    with told.sending() if told else nullcontext():
        while not finished(job, state):
            metrics = train_epoch(job, model, state, train, here, after_step, told)
            settle_statistics(job, state, train, here)
            metrics |= validate(job, state.evaluated, val, here, state.epoch + 1)
            metrics["lr"] = _rate(state)
            if state.plateau is not None:
                state.plateau.step(metrics["val/loss"])
            state.epoch, state.history = state.epoch + 1, [*state.history, metrics]
            report_epoch(job, state, here)
            if here.rank == 0:
                tell_epoch(job, state, (time.monotonic() - start) / (state.epoch - first))
    return state.history


def indices(job: Job, here: Rank) -> tuple[ClipIndex, ClipIndex]:
    """Return the clips of the training split and those of the validation split, which rank 0 alone reads and checks.

    Raises:
        ShardError: a split cannot be used.
    """
    training = job.config.training
    # In a list, because Ray would send the indices themselves in place of a reference that is an argument of its own.
    told = None
    if here.rank == 0:
        some = fraction_of(job.task.index(training.train_split), training.train_fraction, job.config.seed)
        told = [shared(each for each in (some, job.task.index(training.val_split)))]
    ((train, val),) = ray.get(broadcast_from_rank_zero(told))
    return train, val


def monitored_loop(values: Mapping[str, Any]) -> list[dict[str, float]]:
    """Run `train_loop`; one worker of each machine logs its system metrics, and rank 0 logs its environment."""
    impatient()
    here, run = ray.train.get_context(), Job.from_dict(values).run
    if here.get_world_rank() == 0:
        with tolerated(run.uri):
            run.log_json("environment.json", environment())
    if here.get_local_rank() != 0:
        return train_loop(values)
    with system_metrics(run, f"node_{here.get_node_rank()}"):
        return train_loop(values)


def prepare(job: Job, here: Rank, provenance: Provenance) -> tuple[nn.Module, State]:
    """Build the network as DDP trains it, and the state of its training.

    Args:
        job: the job of this worker.
        here: this worker's place among the others.
        provenance: the provenance of the weights that the training makes.

    Raises:
        ConfigError: the config names a network, weights or an option that cannot be used.
    """
    config = job.config
    check_device(config.training.precision, here)
    torch.manual_seed(config.seed)
    network, loaded = job.task.network(provenance)
    if loaded is not None and here.rank == 0:
        if ray.train.get_checkpoint() is None:
            sys.stdout.write(f"{job.stream} begins with {loaded.summary}\n")
            sys.stdout.flush()
        with tolerated(job.run.uri):
            job.run.log_text("weights.txt", str(loaded))
    if config.training.sync_batch_norm:
        network = synchronise(network, here.device)
    network = lay_out(network, here.device)
    model = ray.train.torch.prepare_model(
        with_consensus(network, config.clips.segments), parallel_strategy_kwargs=distributed_options()
    )
    optimiser = build_optimiser(config.optimiser, network)
    average = build_average(network, config.training.average)
    state = State(network, optimiser, build_plateau(config.schedule, optimiser), average, provenance=provenance)
    return compiled(model, config.training), state


def go_on(job: Job, state: State, here: Rank) -> None:
    """Load the last checkpoint, if there is one, and scale its learning rate if `optimiser.lr` has changed since."""
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state.load(Path(folder), here.device)
            state.load_rank(Path(folder), here.rank, here.world)
            if state.began_with not in ("", state.provenance.digest):
                state.position = Position()  # the unfinished epoch was on other data
            before = load(Config, Path(folder) / "config.yaml")
        for group in state.optimiser.param_groups:
            group["lr"] *= job.config.optimiser.lr / before.optimiser.lr


def finished(job: Job, state: State) -> bool:
    """Return whether no epoch is left to start or to finish."""
    training = job.config.training
    if state.position.steps:
        return False
    if state.epoch >= training.epochs or (training.steps is not None and state.step >= training.steps):
        return True
    return _rate(state) < job.config.schedule.stop_lr


def _rate(state: State) -> float:
    return state.optimiser.param_groups[0]["lr"]
