"""Waiting for room in the cluster for a training's workers, with messages and a time limit.

Ray Train waits silently and without limit. With `resources.min_workers`, it asks the cluster again and again while
there is room for fewer; with a fixed number of workers, it tries again whenever they have not started within a minute.
"""

import time

from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import ReschedulingState, RunningState

from pipeline import console
from pipeline.config import ResourcesConfig

SAY_S = 60.0  # seconds between messages
PAUSE_S = 1.0  # seconds between requests to the cluster, which Ray Train would send without a pause


class NoRoomError(Exception):
    """The error raised when there was no room for the workers within the time limit."""


class WaitForRoom(ControllerCallback):
    """A callback that prints messages during waits for room, and ends the run once they add up to `wait_minutes`."""

    def __init__(self, stream: str, resources: ResourcesConfig) -> None:
        self.stream, self.minutes = stream, resources.wait_minutes
        self.workers = f"{resources.least_workers} worker{'s' * (resources.least_workers > 1)}"
        self.waited = self.updated = 0.0
        self.said: float | None = None  # value of `waited` at the last message of the current wait

    def after_controller_start(self, train_run_context: object) -> None:  # noqa: ARG002
        """Start to measure time."""
        self.updated = time.monotonic()

    def after_controller_state_update(self, previous_state: object, current_state: object) -> None:
        """See the class.

        Raises:
            NoRoomError: the time limit is reached; Ray Train does not retry after this error.
        """
        before, self.updated = self.updated, time.monotonic()
        asks = current_state is previous_state  # with `min_workers`: Ray Train asked the cluster and changed nothing
        if asks or isinstance(current_state, ReschedulingState):
            self.waited += self.updated - before
            if self.waited >= 60 * self.minutes:
                raise NoRoomError(f"no room for {self.workers} in {self.minutes:g} minutes (resources.wait_minutes)")
            if self.said is None or self.waited - self.said >= SAY_S:
                self.said = self.waited
                so_far = f"{self.waited / 60:.1f} of {self.minutes:g} minutes so far (resources.wait_minutes)"
                console.say(f"{self.stream}: waiting for room for {self.workers}, {so_far}")
        elif isinstance(current_state, RunningState):
            self.said = None
        if asks:
            time.sleep(PAUSE_S)
