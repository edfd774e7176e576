"""Room in the cluster for a training's workers: it is waited for aloud, and not without an end.

Ray Train waits silently, and for ever. With `resources.min_workers`, and room for fewer, it asks the cluster again and
again; a fixed number it starts again whenever they do not come up in a minute.
"""

import time

from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import ReschedulingState, RunningState

from pipeline import console
from pipeline.config import ResourcesConfig

SAY_S = 60.0  # between lines
PAUSE_S = 1.0  # between questions to the cluster, which Ray Train asks without a pause


class NoRoomError(Exception):
    """Room was waited for as long as it may be."""


class WaitForRoom(ControllerCallback):
    """Ends the run once its waits for room add up to `resources.wait_minutes`; says so while it waits."""

    def __init__(self, stream: str, resources: ResourcesConfig) -> None:
        self.stream, self.minutes = stream, resources.wait_minutes
        self.workers = f"{resources.least_workers} worker{'s' * (resources.least_workers > 1)}"
        self.waited = self.updated = 0.0
        self.said: float | None = None  # what it had waited at the last line of this wait

    def after_controller_start(self, train_run_context: object) -> None:  # noqa: ARG002
        """From here on time counts."""
        self.updated = time.monotonic()

    def after_controller_state_update(self, previous_state: object, current_state: object) -> None:
        """See the class.

        Raises:
            NoRoomError: which Ray Train does not try again.
        """
        before, self.updated = self.updated, time.monotonic()
        asks = current_state is previous_state  # elastic: it decided on nothing
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
