"""The plan of a sweep: its trials, what they would decode and cost, and which do not fit, from steps really made.

Every network and window of the sweep makes a step on random clips, in a process of its own, which may run out of memory
without harm. The time is that of this machine, which need not be the machine that trains.
"""

import multiprocessing
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import torch
from torch.nn.functional import cross_entropy

from pipeline.cluster import here
from pipeline.config import Config, ConfigError, SweepConfig
from pipeline.experiments.looping import looped
from pipeline.experiments.space import Point, Space, described, pinned, sets_of
from pipeline.experiments.sweep import ADAPTIVE
from pipeline.experiments.trial import Outcome, outcome_file
from pipeline.networks import build_network, network_inputs
from pipeline.progress import Progress
from pipeline.runs.pretrain import check_networks, check_splits
from pipeline.runs.training_estimate import plan_training
from pipeline.shards import read_manifest
from pipeline.shards.splits import clips_in
from pipeline.table import table
from pipeline.training.input_check import clip_sizes
from pipeline.workers import Machines, fitted

LONGEST_S = 120.0  # seconds for the step of one network


@dataclass(frozen=True)
class Step:
    """A step that was really made.

    Attributes:
        seconds: seconds of a forward and backward pass of one batch; 0 if it failed.
        gib: the most memory that its process, or its GPU, had.
        failed: why it failed, in one line; empty if it did not.
    """

    seconds: float
    gib: float
    failed: str = ""


def planned(sweep: SweepConfig) -> str:
    """Describe the trials of a resolved sweep and their cost, without connecting to anything or writing anything.

    Raises:
        ConfigError: an axis is wrong.
        ShardError: the shard set is incomplete.
    """
    manifest, machines = read_manifest(sweep.base.ingest.shards), here()
    base = fitted(sweep.base, machines, sweep.concurrent, "base.")
    clips = clips_in(manifest)
    sets = {path: clips_in(read_manifest(path)) for path in sets_of(sweep)}
    space = Space(replace(sweep, base=pinned(sweep.base, base.clips_of_a_step)), clips, len(manifest["labels"]), sets)
    points = space.corners() if sweep.sampler in ADAPTIVE else space.points()
    rows: list[list[object]] = [["point", "batch", "steps", "GMACs", "windows", "s/batch", "GiB", "hours", ""]]
    hours, seeds, done, made = 0.0, len(space.repeats), 0, dict[str, Step]()
    progress = Progress("plan", len(points), every_s=10)
    for point in points:
        row, took = _row(space, point, machines, made)
        there = 0 if sweep.sampler in ADAPTIVE or not took else _done(space, point)
        hours, done = hours + took * (seeds - there), done + there
        rows.append(row)
        progress.advance()
    count = sweep.points if sweep.sampler in ADAPTIVE else len(points)
    hours *= count / max(len(points), 1)
    said = "the ends of its axes are shown" if sweep.sampler in ADAPTIVE else "each is shown"
    used = space.base({**points[0], **space.repeats[0]}).training
    decoded = clips.get(used.train_split, 0) + clips.get(used.val_split, 0)
    return "\n".join(
        [
            "",
            f"{count} points x {seeds} = {count * seeds} trials, {done} of them done before, {sweep.concurrent} at a "
            f"time; {said}; nothing has been done",
            table(rows),
            f"  some {hours / sweep.concurrent:,.2f} hours of forward and backward passes for those that are left, if "
            f"ASHA stops none, and without their tests; decoded are the {decoded:,} stored clips of training and "
            "validation, again in each epoch",
        ]
    )


def _done(space: Space, point: Point) -> int:
    """Return how many trials of a point have an outcome."""
    sweep, found = space.sweep, 0
    for trial in space.trials([point]):
        data = trial.training.data
        name = trial.run_name({data: str(read_manifest(data)["digest"])})
        outcome = Outcome.load(outcome_file(sweep.base.storage, name))
        found += outcome is not None and outcome.has(sweep.test == "all", sweep.scheduler == "asha")
    return found


def _row(space: Space, point: Point, machines: Machines, made: dict[str, Step]) -> tuple[list[object], float]:
    said = described(point, over=()) or "base"
    try:
        config = space.trial({**point, **space.repeats[0]}).training.config
        clips = space.clips_of(config.ingest.shards)
        check_splits(config.training, config.evaluation, clips.keys())
        check_networks(config)
        config = fitted(config, machines, space.sweep.concurrent, "base.")
    except ConfigError as error:
        return [said, "", "", "", "", "", "", "", f"does not fit: {error}"], 0.0
    alone = replace(config, resources=replace(config.resources, workers=1, min_workers=None))
    plan = plan_training(alone, clips, space.classes, gpu=False)
    steps = plan.epochs * plan.steps if config.training.steps is None else config.training.steps
    key, workers = f"{config.model} {config.clips} {config.training.batch_size}", config.resources.number_of_workers
    step = made.get(key) or made.setdefault(key, tried(config, space.classes))
    passes = steps * config.clips_of_a_step / config.training.batch_size / workers
    valid = plan.epochs * clips.get(config.training.val_split, 0) / config.training.batch_size / 3 / workers
    hours = (passes + valid) * step.seconds / 3600
    numbers: list[object] = [f"{step.seconds:.2g}", f"{step.gib:.2g}", f"{hours:.2g}"]
    cells: list[object] = [said, config.training.batch_size, steps, f"{plan.gmacs:.3g}", steps * config.clips_of_a_step]
    long = looped(config.clips, config.training.train_split, read_manifest(config.ingest.shards))
    return [*cells, *(numbers if not step.failed else ["", "", ""]), step.failed or long], hours


def tried(config: Config, classes: int) -> Step:
    """Make a training step of every network of a config in a process of its own, and add them up."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_steps, args=(config, classes, sender), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(LONGEST_S):
            return Step(0.0, 0.0, f"a step takes more than {LONGEST_S:g} s here")
        return Step(*receiver.recv())
    except EOFError:
        process.join()
        return Step(0.0, 0.0, f"does not fit: its process was ended (exit code {process.exitcode}), as without memory")
    finally:
        process.kill()
        process.join()
        receiver.close()


def _steps(config: Config, classes: int, sender: Connection) -> None:
    from pipeline.training.rank import most_memory_gib

    device = torch.device("cuda" if torch.cuda.is_available() and config.resources.gpu != "no" else "cpu")
    torch.set_num_threads(max(1, round(config.resources.cpus_of_a_worker)))
    seconds = 0.0
    try:
        for name, streams in network_inputs(config.model).items():
            network = build_network(config.model, name, max(2, classes)).to(device).train()
            inputs = [
                torch.randn(config.training.batch_size * config.clips.segments, *size, device=device)
                for size in clip_sizes(config.clips, streams)
            ]
            labels = torch.zeros(len(inputs[0]), dtype=torch.long, device=device)
            for _ in range(2):  # the first one also plans its kernels
                begun = time.monotonic()
                cross_entropy(network(*inputs), labels).backward()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                last = time.monotonic() - begun
            seconds += last
    except (RuntimeError, ValueError, MemoryError) as error:
        sender.send((0.0, 0.0, f"does not fit: {' '.join(str(error).split())[:200]}"))
        return
    sender.send((seconds, most_memory_gib(device), ""))
