"""Ray: the cluster that a job runs on, and how loud it is."""

import logging
import os
from typing import Protocol, Self, TypeVar

import ray

from pipeline.command_line import fields
from pipeline.config import Config, ConfigError


class Resolvable(Protocol):
    """The config of any job."""

    def resolved(self) -> Self:
        """The same with absolute paths."""


T = TypeVar("T", bound=Resolvable)
TRIAL_CPUS = 0.1  # of the driver of a trial, which only waits for its Train workers
PATHS = ("storage", "ingest.shards", "catalog.videos", "catalog.annotations", "catalog.archives", "model.weights")


def connect(config: Config, need_training: bool = True, trials: int = 1) -> None:
    """Join the cluster that the job was submitted to, or start a local one, and check that the config fits it.

    Args:
        config: resolved.
        need_training: whether the job trains, or only ingests.
        trials: trainings at a time.

    Raises:
        ConfigError: the cluster is too small, or a path is relative where the job runs in Ray's copy of the code.
    """
    if not ray.is_initialized():
        # A submitted job finds its cluster by RAY_ADDRESS. Anywhere else this starts a local one, and does not join
        # whatever was started on this machine before. The dashboard is on: Ray Train asks its state API whether a run
        # is still alive. Idle workers stay for a minute, not a second: the decoders of an epoch serve the next.
        os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
        ray.init(os.environ.get("RAY_ADDRESS", "local"), logging_level=logging.WARNING)
    quiet()
    resources, cpus = config.resources, ray.cluster_resources().get("CPU", 0)
    drivers = trials * TRIAL_CPUS if trials > 1 else 0
    workers = resources.least_workers
    training = trials * workers * resources.worker_cpus + resources.loader_cpus + drivers
    if need_training and training > cpus:
        each = f"{trials} trials at a time, each of " if trials > 1 else ""
        raise ConfigError(
            f"resources: {each}{workers} workers of {resources.worker_cpus:g} CPUs, and one loader of "
            f"{resources.loader_cpus:g}, need {training:g} CPUs, the cluster has {cpus:g}; "
            f"lower {'concurrent' if trials > 1 else 'resources.workers'}"
        )
    if resources.ingest_cpus > cpus:
        raise ConfigError(f"resources.ingest_cpus: {resources.ingest_cpus:g}, the cluster has {cpus:g}")
    if resources.gpu == "yes" and ray.cluster_resources().get("GPU", 0) < workers:
        raise ConfigError(
            f"resources.gpu: {workers} workers need a GPU each, "
            f"the cluster has {ray.cluster_resources().get('GPU', 0):g}"
        )


def use_gpu(config: Config) -> bool:
    """Whether training workers get a GPU each."""
    if config.resources.gpu == "auto":
        return ray.cluster_resources().get("GPU", 0) >= config.resources.least_workers
    return config.resources.gpu == "yes"


def resolve(config: T) -> T:
    """The config with absolute paths.

    Raises:
        ConfigError: a job that was submitted with a working directory runs in Ray's copy of it, which is not where the
            user's relative paths point, and is deleted afterwards.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        for name, value, _ in fields(config):
            paths = value if isinstance(value, dict) else {"": value}
            for key, path in paths.items() if name.endswith(PATHS) else ():
                if path and "://" not in path and not path.startswith(("/", "~")):
                    raise ConfigError(
                        f"--{name}{key and '.' + key} {path}: a submitted job needs an absolute path or a URI"
                    )
    return config.resolved()


def quiet() -> None:
    """Ray Data tells about every dataset it runs, Ray Train about every report; a training has thousands of them."""
    for name in ("ray.data", "ray.train", "ray.tune", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # says that its bars are off


def quiet_worker() -> None:
    """The same in a Ray Train worker, whose loggers Ray has configured by file names."""
    quiet()
    logging.getLogger().setLevel(logging.WARNING)
