"""How many workers a training has, on the machines that are there, and how a step of given clips is cut for them.

A recipe says how many clips a step has (`training.clips_per_step`) and how many fit into one forward pass
(`training.batch_size`). The rest follows from the machines: workers that divide a step evenly, and as many forward
passes of each as make it whole. So a step is the recipe's on any machine, and so are its learning rate and its epochs.
"""

import math
from dataclasses import dataclass, replace

from pipeline.config import Config, ConfigError, ResourcesConfig, TrainingConfig

TRIAL_CPUS = 0.1  # of the driver of a trial, which only waits for its workers
SMALL_LOADER = 0.25  # CPUs of a task that decodes, where cores are few


@dataclass(frozen=True)
class Machines:
    """What a cluster has.

    Attributes:
        cpus: the CPUs of each node that has any.
        gpus: the GPUs of all nodes together.
    """

    cpus: tuple[float, ...]
    gpus: int = 0

    @property
    def alike(self) -> tuple[float, ...]:
        """CPUs of the nodes that a training on CPUs takes: the largest, and those at least half as large."""
        return tuple(count for count in self.cpus if count >= max(self.cpus) / 2)


def fitted(config: Config, machines: Machines, trials: int = 1, section: str = "") -> Config:
    """The config with `auto` workers and CPUs as numbers, and `training.accumulate` as they make it.

    Args:
        config: resolved.
        machines: that are there.
        trials: trainings at a time.
        section: where the config lies among the job's fields, for messages: empty, or `base.` in a sweep.

    Raises:
        ConfigError: it does not fit; the line names flags that do.
    """
    made = _definite(config, machines, trials)
    need = _cpus(made.resources, trials)
    if need > sum(machines.cpus) + 1e-6:
        resources = made.resources
        each = f"{trials} trials at a time, each of " if trials > 1 else ""
        raise ConfigError(
            f"resources: {each}{resources.least_workers} workers of {resources.cpus_of_a_worker:g} CPUs, and one "
            f"loader of {resources.cpus_of_a_loader:g}, need {need:g} CPUs, the cluster has {sum(machines.cpus):g}; "
            f"{_smaller(config, machines, trials, section)}"
        )
    accumulate = _accumulate(made.training, made.resources, section)
    return replace(made, training=replace(made.training, accumulate=accumulate))


def uses_gpu(resources: ResourcesConfig, gpus: float) -> bool:
    """Whether training workers get a GPU each."""
    if resources.gpu != "auto":
        return resources.gpu == "yes"
    least = resources.min_workers or (1 if resources.workers == "auto" else resources.workers)
    return gpus >= least


def _definite(config: Config, machines: Machines, trials: int) -> Config:
    """Workers and CPUs as numbers."""
    resources = config.resources
    gpu, nodes = uses_gpu(resources, machines.gpus), machines.alike
    plenty = gpu and sum(machines.cpus) >= 2 * machines.gpus
    small = min(SMALL_LOADER, sum(machines.cpus) / 4)
    loader = resources.loader_cpus if resources.loader_cpus != "auto" else 1.0 if plenty else small
    room = sum(machines.cpus) - loader - _drivers(trials)
    workers = resources.workers
    if workers == "auto":
        most = max(1, (machines.gpus if gpu else len(nodes)) // trials)
        if resources.worker_cpus != "auto":
            most = max(1, min(most, int(room / trials / resources.worker_cpus + 1e-6)))
        workers = _divisor(_passes(config.training), most)
    if resources.min_workers is not None and resources.min_workers > workers:
        raise ConfigError(
            f"resources.min_workers: {resources.min_workers} is more than the {workers} workers that a training has "
            f"here; --resources.min_workers {workers} is not"
        )
    cpus = resources.worker_cpus
    if cpus == "auto":
        on_a_node = math.ceil(workers * trials / (1 if gpu else len(nodes)))
        share = (room if gpu else min(nodes) - loader - _drivers(trials)) / on_a_node
        cpus = max(0.01, math.floor(100 * (min(1.0, share) if gpu else share)) / 100)
    return replace(config, resources=replace(resources, workers=workers, worker_cpus=cpus, loader_cpus=loader))


def _accumulate(training: TrainingConfig, resources: ResourcesConfig, section: str) -> int:
    """Forward passes of each worker that make a step whole.

    Raises:
        ConfigError: a step cannot be cut so.
    """
    workers = resources.number_of_workers
    clips, batch, asked = training.clips_per_step, training.batch_size, training.accumulate
    if clips is None:
        return asked
    if clips % batch:
        size = _divisor(clips, batch)
        raise ConfigError(
            f"training.clips_per_step: {clips} clips are no whole number of batches of {batch} (training.batch_size); "
            f"--{section}training.batch_size {size} makes such steps, --{section}training.clips_per_step none steps of "
            "batch_size x accumulate x workers"
        )
    passes = clips // batch
    if passes % workers:
        raise ConfigError(
            f"resources.workers: {workers} workers cannot share the {passes} batches of a step evenly "
            f"(training.clips_per_step {clips}, training.batch_size {batch}); "
            f"--{section}resources.workers {_divisor(passes, workers)} can"
        )
    if asked not in (1, passes // workers):
        raise ConfigError(
            f"training.accumulate: {asked} on {workers} workers with batches of {batch} makes steps of "
            f"{asked * workers * batch} clips, training.clips_per_step says {clips}; leave accumulate out, or give "
            f"--{section}training.clips_per_step {asked * workers * batch}"
        )
    return passes // workers


def _smaller(config: Config, machines: Machines, trials: int, section: str) -> str:
    """Flags with which it fits."""
    resources = config.resources
    for at_once in range(trials - 1, 0, -1):
        if _cpus(_definite(config, machines, at_once).resources, at_once) <= sum(machines.cpus):
            return f"--concurrent {at_once} fits"
    names = ("workers", "worker_cpus", "loader_cpus")
    for count in range(1, len(names) + 1):
        freed = replace(resources, min_workers=None, **dict.fromkeys(names[:count], "auto"))  # type: ignore[arg-type]
        made = _definite(replace(config, resources=freed), machines, 1).resources
        if _cpus(made, 1) <= sum(machines.cpus) + 1e-6:
            flags = [f"--{section}resources.{name} {getattr(made, name):g}" for name in names[:count]]
            flags += [f"--{section}resources.min_workers none"] if resources.min_workers is not None else []
            flags += ["--concurrent 1"] if trials > 1 else []
            return f"{' '.join(flags)} fit{'s' * (len(flags) == 1)}"
    return "use a larger machine"


def _cpus(resources: ResourcesConfig, trials: int) -> float:
    workers = resources.least_workers * resources.cpus_of_a_worker
    return trials * workers + resources.cpus_of_a_loader + _drivers(trials)


def _drivers(trials: int) -> float:
    return trials * TRIAL_CPUS if trials > 1 else 0.0


def _passes(training: TrainingConfig) -> int | None:
    """Forward passes of a step over all workers; None where a step has no given number of clips."""
    clips, batch = training.clips_per_step, training.batch_size
    return None if clips is None else max(1, clips // batch)


def _divisor(number: int | None, most: int) -> int:
    """The largest divisor of a number that is not above `most`; of no number `most` itself."""
    return most if number is None else next(n for n in range(min(number, most), 0, -1) if number % n == 0)
