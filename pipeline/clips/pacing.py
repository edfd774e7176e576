"""Keeps Ray Data's scheduling loop from spinning beside the training loop.

While batches wait to be used, the executor of Ray 2.60 has no task to wait for and polls without a pause. It runs as a
thread of the training worker, where that took the interpreter for 40 % of the time and halved the rate of training.
"""

import time

from ray.data._internal.execution.execution_callback import ExecutionCallback

PAUSE_S = 0.02  # a step starts as many tasks as there is room for, so this is no limit on the rate


class Paced(ExecutionCallback):
    """A pause after every step; registered in `DataContext.custom_execution_callback_classes`."""

    def on_execution_step(self, executor: object) -> None:  # noqa: ARG002 - Ray's signature
        """See the class."""
        time.sleep(PAUSE_S)
