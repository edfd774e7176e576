"""Connecting to Ray: starting or joining the cluster, fitting the config to it, and limiting Ray's log output."""

import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._private.authentication import authentication_token_setup
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler.sdk import request_resources

from pipeline import console, interruptions
from pipeline.config import Config, ResourcesConfig
from pipeline.sqlite import file_of
from pipeline.workers import Machines, TooSmallError, fitted, processes, uses_gpu

ADDRESS = "RAY_ADDRESS"
PAUSE_S = 1.0  # seconds between two looks at a cluster that is too small


class ClusterError(RuntimeError):
    """Ray could not be started or joined; the message is one line, written for the user."""


def connect(config: Config, need_training: bool = True, trials: int = 1, section: str = "") -> Config:
    """Join the cluster that the job was submitted to, or start a local one, and fit the config to it.

    Args:
        config: a resolved config.
        need_training: whether the job trains, or only ingests.
        trials: trainings that run at the same time.
        section: prefix of the config's fields on the command line: empty, or `base.` in a sweep.

    Returns:
        The config with workers and CPUs as numbers; unchanged if the job does not train.

    Raises:
        ConfigError: the cluster is too small, and is still so after `resources.wait_minutes` if the job joined it.
    """
    console.log_to(f"{config.storage}/logs", Path(sys.argv[0]).stem)
    if not ray.is_initialized():
        join(os.environ.get(ADDRESS, "local"))
    quiet()
    fit = partial(_fit_to, config, need_training, trials, section)
    fits = when_there_is_room(fit, config.resources.wait_minutes if ADDRESS in os.environ else 0)
    if need_training and (note := shared_database(config.tracking.uri, len(machines().cpus))):
        console.say(note)
    return fits


def _fit_to(config: Config, need_training: bool, trials: int, section: str, there: Machines) -> Config:
    resources = config.resources
    if resources.ingest_cpus > sum(there.cpus):
        says = f"resources.ingest_cpus: {resources.ingest_cpus:g}, the cluster has {sum(there.cpus):g}"
        raise TooSmallError(says, [{"CPU": resources.ingest_cpus}])
    if not need_training:
        return config
    config = fitted(config, there, trials, section)
    if resources.gpu == "yes" and there.gpus < config.resources.least_workers:
        raise TooSmallError(
            f"resources.gpu: {config.resources.least_workers} workers need a GPU each, the cluster has {there.gpus}",
            processes(config.resources, trials, gpu=True),
        )
    return config


def when_there_is_room(fit: Callable[[Machines], Config], minutes: float) -> Config:
    """Fit a config to the cluster; if the cluster is too small, wait for machines that start or come back.

    An autoscaler, if there is one, is asked for them.

    Args:
        fit: fits the config to some machines, or raises `TooSmallError`.
        minutes: how long to wait, with a line every minute.

    Raises:
        TooSmallError: the cluster is still too small after that time.
    """
    begin, asked = time.monotonic(), 0
    try:
        while True:
            try:
                return fit(machines())
            except TooSmallError as error:
                waited = (time.monotonic() - begin) / 60
                if waited >= minutes:
                    raise
                if waited >= asked:
                    asked += 1
                    request_resources(bundles=error.needs)
                    so_far = f"{waited:.1f} of {minutes:g} minutes so far (resources.wait_minutes)"
                    console.say(f"{error}; waiting for more machines, {so_far}")
            time.sleep(PAUSE_S)
    finally:
        if asked:
            request_resources(bundles=[])  # from now on the job's own processes ask


def shared_database(uri: str, nodes: int) -> str | None:
    """Return a warning if several nodes write their runs to one SQLite file; None if they do not."""
    if nodes < 2 or (file := file_of(uri)) is None:
        return None
    return (
        f"warning: {nodes} nodes write their runs to the SQLite file {file}; network disks lock such files badly, so "
        "runs may be lost: start an MLflow server (infra/README.md) and give --tracking.uri http://HOST:5000"
    )


def definite(config: Config) -> Config:
    """Replace what is still `auto` in the config by numbers, for a training that starts without `connect`."""
    resources = config.resources
    if "auto" in (resources.workers, resources.worker_cpus, resources.loader_cpus):
        return fitted(config, machines())
    return config


def machines() -> Machines:
    """Return the CPUs and GPUs of the cluster that this process is connected to."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Machines(
        cpus=tuple(node["CPU"] for node in nodes if node.get("CPU", 0) > 0) or (0.0,),
        gpus=int(sum(node.get("GPU", 0) for node in nodes)),
    )


def here() -> Machines:
    """Return the machines that a job started now would run on.

    This joins a cluster if `RAY_ADDRESS` names one, and otherwise does not start Ray.
    """
    if not ray.is_initialized() and ADDRESS not in os.environ:
        import torch

        return Machines(cpus=(float(os.cpu_count() or 1),), gpus=torch.cuda.device_count())
    if not ray.is_initialized():
        join(os.environ[ADDRESS])
    return machines()


def join(address: str) -> None:
    """Join the cluster at an address, or start one on this machine.

    A submitted job finds its cluster through RAY_ADDRESS. Any other job starts a local cluster, and does not join one
    that was started on this machine before. The dashboard is on, because Ray Train asks its state API whether a run is
    still alive.

    Raises:
        ClusterError: Ray does not start, there is no cluster at the address, or it refuses the token.
    """
    set_variables(local=address == "local")
    if refuses_token(address):
        raise ClusterError(
            f"the Ray cluster at {ADDRESS} {address} refuses the token; give its own in RAY_AUTH_TOKEN, or in a file "
            "with RAY_AUTH_TOKEN_PATH (~/.ray/auth_token), and set RAY_AUTH_MODE=token"
        )
    try:
        ray.init(address, logging_level=logging.WARNING)
    except Exception as error:  # ray.init raises many types, even AssertionError
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if address == "local":
            says = "Ray does not start on this machine: {}; see its memory, its disks of /tmp and /dev/shm, and the log"
        else:
            says = f"no Ray cluster at {ADDRESS} {address}: {{}}; start it, or unset {ADDRESS} for one on this machine"
        raise ClusterError(says.format(reason)) from error
    finally:
        interruptions.again()  # Ray replaces the handler of SIGTERM
    console.at_end(ray.shutdown)  # otherwise Ray logs its shutdown at exit, after our last line


def refuses_token(address: str) -> bool:
    """Return whether there is a cluster at an address, HOST:PORT, that does not accept this process's token."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            pass  # GcsClient would wait 40 s for a cluster that is not there
        GcsClient(address=address)
    except ray.exceptions.AuthenticationError:
        return True
    except (ray.exceptions.RayError, OSError, ValueError):
        return False
    return False


def set_variables(local: bool) -> None:
    """Set the variables that Ray reads when it starts, unless they are set already.

    Idle workers stay for a minute instead of a second, so that the next epoch can use the same decoders. Ctrl-C ends a
    sweep like any other job. On a local cluster no process watches for preemption, because no cloud takes the machine
    back; each training then starts one process less, which is 3 s of processor time. A local cluster listens on
    loopback alone and answers only to a token of its own.

    Args:
        local: whether the cluster is only this machine.
    """
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    if local:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        _guard()


def _guard() -> None:
    """Let the local cluster that starts next listen on loopback alone and answer only to a token that it makes.

    Without this, Ray takes the machine's outward address for its own, and keeps its token in a file that others may
    read.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on these systems Ray keeps to loopback
    ray_constants.ENABLE_RAY_CLUSTER = False  # its value of this process, which was read at the import
    os.environ.pop("RAY_AUTH_MODE", None)  # Ray then demands the token, and takes note of it
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)  # it warns that it does so


@contextmanager
def address_handed_on() -> Iterator[None]:
    """Tell the processes of a Ray Train run the address of its cluster.

    The process that cleans up after a dead controller asks the state API. Without the address it would look for
    clusters on its machine, and give up if it found two.
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
    """Return whether each training worker gets a GPU."""
    return uses_gpu(resources, ray.cluster_resources().get("GPU", 0))


def quiet() -> None:
    """Lower the log level of Ray and MLflow, which log every dataset and every report: thousands in a training."""
    for name in ("ray.data", "ray.train", "ray.tune", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # it warns that its bars are off


def quiet_worker(label: str = "") -> None:
    """Lower the log level in a Ray worker process, and forward its own messages to the driver's screen.

    Args:
        label: prefix of these messages, to tell several such processes apart.
    """
    quiet()
    console.forward(label)
    logging.getLogger().setLevel(logging.WARNING)  # in a Ray Train worker, Ray configures loggers by file name
