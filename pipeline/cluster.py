"""Ray: the cluster that a job runs on, and how loud it is."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from pipeline import console, interruptions
from pipeline.config import Config, ConfigError, ResourcesConfig
from pipeline.workers import Machines, fitted, uses_gpu

ADDRESS = "RAY_ADDRESS"


class ClusterError(RuntimeError):
    """There is no Ray to run on; one line, for the user."""


def connect(config: Config, need_training: bool = True, trials: int = 1, section: str = "") -> Config:
    """Join the cluster that the job was submitted to, or start a local one, and fit the config to it.

    Args:
        config: resolved.
        need_training: whether the job trains, or only ingests.
        trials: trainings at a time.
        section: where the config lies among the job's fields: empty, or `base.` in a sweep.

    Returns:
        The config with workers and CPUs as numbers.

    Raises:
        ConfigError: the cluster is too small.
    """
    console.log_to(f"{config.storage}/logs", Path(sys.argv[0]).stem)
    if not ray.is_initialized():
        join(os.environ.get(ADDRESS, "local"))
    quiet()
    resources, there = config.resources, machines()
    if resources.ingest_cpus > sum(there.cpus):
        raise ConfigError(f"resources.ingest_cpus: {resources.ingest_cpus:g}, the cluster has {sum(there.cpus):g}")
    if not need_training:
        return config
    config = fitted(config, there, trials, section)
    if resources.gpu == "yes" and there.gpus < config.resources.least_workers:
        raise ConfigError(
            f"resources.gpu: {config.resources.least_workers} workers need a GPU each, the cluster has {there.gpus}"
        )
    return config


def definite(config: Config) -> Config:
    """The config with numbers for what is still `auto`, of a training that is begun without `connect`."""
    resources = config.resources
    if "auto" in (resources.workers, resources.worker_cpus, resources.loader_cpus):
        return fitted(config, machines())
    return config


def machines() -> Machines:
    """What the cluster that this process is connected to has."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Machines(
        cpus=tuple(node["CPU"] for node in nodes if node.get("CPU", 0) > 0) or (0.0,),
        gpus=int(sum(node.get("GPU", 0) for node in nodes)),
    )


def here() -> Machines:
    """What a job would find that is started now; Ray is not started for it, only joined where it is named."""
    if not ray.is_initialized() and ADDRESS not in os.environ:
        import torch

        return Machines(cpus=(float(os.cpu_count() or 1),), gpus=torch.cuda.device_count())
    if not ray.is_initialized():
        join(os.environ[ADDRESS])
    return machines()


def join(address: str) -> None:
    """Join the cluster at an address, or start one here.

    A submitted job finds its cluster by RAY_ADDRESS. Anywhere else a local one is started, and not joined whatever was
    started on this machine before. The dashboard is on: Ray Train asks its state API whether a run is still alive. Idle
    workers stay for a minute, not a second: the decoders of an epoch serve the next.

    Raises:
        ClusterError: in one line.
    """
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends a sweep as it ends all else
    try:
        ray.init(address, logging_level=logging.WARNING)
    except Exception as error:  # of many kinds, down to assertions
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if address == "local":
            says = "Ray does not start on this machine: {}; see its memory, its disks of /tmp and /dev/shm, and the log"
        else:
            says = f"no Ray cluster at {ADDRESS} {address}: {{}}; start it, or unset {ADDRESS} for one on this machine"
        raise ClusterError(says.format(reason)) from error
    finally:
        interruptions.again()  # Ray takes SIGTERM
    console.at_end(ray.shutdown)  # else it says at the exit, behind our last line, what it ends


@contextmanager
def address_handed_on() -> Iterator[None]:
    """Tell the processes of a Ray Train run where its cluster is.

    One of them, which clears up after a controller that died, asks the state API, and would otherwise look for clusters
    on its machine, and give up where there are two.
    """
    from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE  # imports torch

    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add(ADDRESS)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ADDRESS]
        else:
            os.environ[ADDRESS] = before


def use_gpu(resources: ResourcesConfig) -> bool:
    """Whether training workers get a GPU each."""
    return uses_gpu(resources, ray.cluster_resources().get("GPU", 0))


def quiet() -> None:
    """Ray Data tells about every dataset it runs, Ray Train about every report; a training has thousands of them."""
    for name in ("ray.data", "ray.train", "ray.tune", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # says that its bars are off


def quiet_worker(label: str = "") -> None:
    """The same in a process of Ray's; its own words go to the driver's screen.

    Args:
        label: before them, where several such processes are side by side.
    """
    quiet()
    console.forward(label)
    logging.getLogger().setLevel(logging.WARNING)  # in a Ray Train worker Ray has configured them by file names
