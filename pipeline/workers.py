"""Choosing the number of training workers for a cluster, and dividing an optimiser step among them.

A recipe says how many clips a step has (`training.clips_per_step`) and how many fit into one forward pass
(`training.batch_size`). The rest follows from the machines: a number of workers that divides a step evenly, and as many
forward passes of each worker as make a whole step. So steps, learning rate and epochs are the same on any machine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.config import Config, ConfigError, ResourcesConfig, TrainingConfig

TRIAL_CPUS = 0.1  # CPUs of the driver of a trial, which only waits for its workers
SMALL_LOADER = 0.25  # CPUs of a task that decodes, if there are few cores


class TooSmallError(ConfigError):
    """The cluster has too few CPUs or GPUs for a job; more machines would do.

    Attributes:
        needs: CPUs and GPUs of each process of the job, in the form in which an autoscaler takes them.
    """

    def __init__(self, message: str, needs: Sequence[Mapping[str, float]] = ()) -> None:
        super().__init__(message)
        self.needs = [dict(need) for need in needs]


@dataclass(frozen=True)
class Machines:
    """The CPUs and GPUs of a cluster.

    Attributes:
        cpus: number of CPUs of each node that has any.
        gpus: number of GPUs of all nodes together.
    """

    cpus: tuple[float, ...]
    gpus: int = 0

    @property
    def alike(self) -> tuple[float, ...]:
        """CPUs of each node that a training without GPUs uses: the largest node, and those at least half as large."""
        return tuple(count for count in self.cpus if count >= max(self.cpus) / 2)


def fitted(config: Config, machines: Machines, trials: int = 1, section: str = "") -> Config:
    """Replace `auto` workers and CPUs in the config by numbers, and set `training.accumulate` to match.

    Args:
        config: a resolved config.
        machines: the machines of the cluster.
        trials: trainings that run at the same time.
        section: prefix of the config's fields on the command line, for messages: empty, or `base.` in a sweep.

    Raises:
        TooSmallError: the training does not fit into the cluster; the message names flags with which it does.
        ConfigError: its steps cannot be divided among the workers.
    """
    resources = _definite(config.resources, config.training, machines, trials)
    need = _cpus(resources, trials)
    if need > sum(machines.cpus) + 1e-6:
        each = f"{trials} trials at a time, each of " if trials > 1 else ""
        raise TooSmallError(
            f"resources: {each}{resources.least_workers} workers of {resources.cpus_of_a_worker:g} CPUs, and one "
            f"loader of {resources.cpus_of_a_loader:g}, need {need:g} CPUs, the cluster has {sum(machines.cpus):g}; "
            f"{_smaller(config.resources, config.training, machines, trials, section)}",
            processes(resources, trials, uses_gpu(resources, machines.gpus)),
        )
    accumulate = _accumulate(config.training, resources, section)
    return replace(config, resources=resources, training=replace(config.training, accumulate=accumulate))


def processes(resources: ResourcesConfig, trials: int, gpu: bool) -> list[dict[str, float]]:
    """Return the CPUs and GPUs of each process of a training whose workers and CPUs are numbers."""
    worker = {"CPU": resources.cpus_of_a_worker, **({"GPU": 1.0} if gpu else {})}
    return [worker] * (trials * resources.least_workers) + [{"CPU": resources.cpus_of_a_loader}]


def uses_gpu(resources: ResourcesConfig, gpus: float) -> bool:
    """Return whether each training worker gets a GPU, in a cluster with `gpus` GPUs."""
    if resources.gpu != "auto":
        return resources.gpu == "yes"
    least = resources.min_workers or (1 if resources.workers == "auto" else resources.workers)
    return gpus >= least


def _definite(resources: ResourcesConfig, training: TrainingConfig, machines: Machines, trials: int) -> ResourcesConfig:
    """Replace `auto` workers and CPUs by numbers."""
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
        workers = _divisor(_passes(training), most)
    if resources.min_workers is not None and resources.min_workers > workers:
        raise TooSmallError(
            f"resources.min_workers: {resources.min_workers} is more than the {workers} workers that a training has "
            f"here; --resources.min_workers {workers} is not"
        )
    cpus = resources.worker_cpus
    if cpus == "auto":
        on_a_node = math.ceil(workers * trials / (1 if gpu else len(nodes)))
        share = (room if gpu else min(nodes) - loader - _drivers(trials)) / on_a_node
        cpus = max(0.01, math.floor(100 * (min(1.0, share) if gpu else share)) / 100)
    return replace(resources, workers=workers, worker_cpus=cpus, loader_cpus=loader)


def _accumulate(training: TrainingConfig, resources: ResourcesConfig, section: str) -> int:
    """Return how many forward passes of each worker make one step.

    Raises:
        ConfigError: the clips of a step cannot be divided evenly into batches and workers.
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


def _smaller(
    resources: ResourcesConfig, training: TrainingConfig, machines: Machines, trials: int, section: str
) -> str:
    """Return flags with which the training fits into the cluster, as words for the error message."""
    for at_once in range(trials - 1, 0, -1):
        if _cpus(_definite(resources, training, machines, at_once), at_once) <= sum(machines.cpus):
            return f"--concurrent {at_once} fits"
    names = ("workers", "worker_cpus", "loader_cpus")
    for count in range(1, len(names) + 1):
        freed = replace(resources, min_workers=None, **dict.fromkeys(names[:count], "auto"))  # type: ignore[arg-type]
        made = _definite(freed, training, machines, 1)
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
    """Return the forward passes of a step over all workers; None if the number of clips per step is not given."""
    clips, batch = training.clips_per_step, training.batch_size
    return None if clips is None else max(1, clips // batch)


def _divisor(number: int | None, most: int) -> int:
    """Return the largest divisor of `number` that is at most `most`; `most` itself if `number` is None."""
    return most if number is None else next(n for n in range(min(number, most), 0, -1) if number % n == 0)
