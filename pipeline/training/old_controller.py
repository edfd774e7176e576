"""Waiting for the controller of a killed run, so that only one controller writes to a training's folder.

If the process that started a training is killed, and its cluster goes on, Ray ends the controller of the training soon
after. Until then the controller may still store checkpoints and delete older ones. Therefore each controller writes its
id into the folder, and the run that resumes waits until Ray says that this actor is dead.
"""

import time

import ray
from ray.exceptions import RayError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException

from pipeline.storage import exists, read_json, remove, write_json

FILE = "controller.json"
PAUSE_S = 0.5  # seconds between requests to the cluster
LONGEST_S = 60.0  # seconds to wait for the end of the old controller


class StillThereError(Exception):
    """The error raised when the controller of an earlier run does not end."""


class SignFolder(ControllerCallback):
    """A callback that writes the id of the controller into the folder of the training."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def after_controller_start(self, train_run_context: object) -> None:  # noqa: ARG002
        """See the class."""
        write_json(f"{self.folder}/{FILE}", {"actor": ray.get_runtime_context().get_actor_id()})


def wait_for_its_end(folder: str) -> None:
    """Wait until the controller that signed the folder is dead.

    Args:
        folder: the folder of one stream's training.

    Raises:
        StillThereError: the controller is alive after `LONGEST_S`.
    """
    if not exists(f"{folder}/{FILE}"):
        return
    actor, end = read_json(f"{folder}/{FILE}")["actor"], time.monotonic() + LONGEST_S
    while _alive(actor):
        if time.monotonic() > end:
            raise StillThereError(f"the controller of an earlier run, actor {actor}, still trains in {folder}; end it")
        time.sleep(PAUSE_S)


def ended(folder: str) -> None:
    """Remove the id of a controller whose end the run has seen."""
    if exists(f"{folder}/{FILE}"):
        remove(f"{folder}/{FILE}")


def _alive(actor: str) -> bool:
    """Return whether an actor of this cluster is alive; an actor of another cluster is not."""
    try:
        state = get_actor(actor, address=ray.get_runtime_context().gcs_address)
    except (RayStateApiException, RayError, OSError):  # a cluster without a dashboard does not say
        return False
    return state is not None and state.state != "DEAD"
