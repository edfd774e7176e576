"""One epoch of training: its steps, and the batch-norm statistics that the network has at its end."""

import itertools
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import Batch, load_batches
from pipeline.clips.order import Batches
from pipeline.training.batch_norm import average_statistics, precise_statistics
from pipeline.training.bucket_order import IN_ANY_ORDER, fix_bucket_order
from pipeline.training.checkpoints import Position, State
from pipeline.training.consensus import with_consensus
from pipeline.training.initial_weights import set_training_mode
from pipeline.training.job import Job
from pipeline.training.learning_rate import planned_rate, set_rate
from pipeline.training.micro_batches import Portion, seed_dropout
from pipeline.training.prefetch import Feed
from pipeline.training.rank import Rank, most_memory_gib
from pipeline.training.step import network_clips, train_step
from pipeline.training.step_progress import Steps


def train_epoch(
    job: Job,
    model: nn.Module,
    state: State,
    index: ClipIndex,
    here: Rank,
    after_step: Callable[[], None],
    told: Steps | None = None,
) -> dict[str, float]:
    """Train for the rest of an epoch, or until `training.steps` is reached, and return the metrics of the epoch.

    Args:
        job: the job of this worker.
        model: the network as DDP trains it.
        state: the state of the training, which every step updates; its position says where in the epoch to start.
        index: the clips of the training split.
        here: this worker.
        after_step: called after every step of the epoch except the last.
        told: reports progress; only rank 0 has it.
    """
    config, training = job.config, job.config.training
    set_training_mode(config.model, model)
    portion, position = Portion.cut(config.clips_of_a_step, training.batch_size, here.rank, here.world), state.position
    rows = portion.batches(len(index), training.batch_size, config.seed, state.epoch)
    steps = len(rows) // portion.count
    planned = training.epochs * steps
    if training.steps is not None:
        planned = min(planned, training.steps)
        steps = min(steps, training.steps - (state.step - position.steps))
    rows = rows[position.steps * portion.count : steps * portion.count]
    feed = Feed(_training_windows(job, index, rows, here, state.epoch), here.device)
    batches, waited = iter(feed), position.waited
    start = time.monotonic() - position.seconds
    if told:
        told.begin(steps, planned)
    while step := list(itertools.islice(batches, portion.count)):
        if not state.ordered and here.world > IN_ANY_ORDER:
            fix_bucket_order(model, state.model, step[0], job.streams, here)
            state.ordered = True
        rate = planned_rate(config.schedule, config.optimiser.lr, state.step, state.epoch, planned)
        set_rate(state.optimiser, rate)
        logits = train_step(training, config.seed, model, step, job.streams, here, state, portion)
        position.sums.add(logits, torch.cat([batch.labels for batch in step]))
        position.steps += 1
        position.seconds, position.waited = time.monotonic() - start, waited + feed.waited
        if told:
            told.after(round(sum(map(len, step)) * portion.of / portion.count), feed.waited)
        if position.steps < steps:
            after_step()
    metrics = position.sums.all_reduce().means("train")
    seconds = time.monotonic() - start
    state.position = Position()
    return {
        **metrics,
        "perf/clips_per_second": metrics["train/clips"] / seconds,
        "perf/data_wait": position.waited / seconds,
        "perf/memory_gib": most_memory_gib(here.device),
        "perf/workers": here.world,
        "perf/restarts": state.restarts,
    }


def settle_statistics(job: Job, state: State, index: ClipIndex, here: Rank) -> None:
    """Recompute the batch-norm statistics before evaluation if the config says so, and average them over all ranks."""
    config, training = job.config, job.config.training
    if count := training.precise_batch_norm:
        portion = Portion.cut(config.clips_of_a_step, training.batch_size, here.rank, here.world)
        rows = portion.batches(len(index), training.batch_size, config.seed, state.epoch)[:count]
        batches = _training_windows(job, index, rows, here, state.epoch)
        set_training_mode(config.model, state.evaluated)
        seed_dropout(config.seed, state.step, here.rank)
        with here.autocast():
            network = with_consensus(state.evaluated, config.clips.segments)
            precise_statistics(network, (network_clips(batch, job.streams, here) for batch in batches))
    average_statistics(state.model)
    if state.average is not None:
        average_statistics(state.evaluated)


def _training_windows(job: Job, index: ClipIndex, rows: Batches, here: Rank, epoch: int) -> Iterator[Batch]:
    index, sample = job.task.training(index, epoch)
    cpus = job.config.resources.cpus_of_a_loader
    return load_batches(index, job.streams, rows, sample, cpus, share=1 / here.world)
