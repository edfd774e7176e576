"""The job of a training worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import Config, from_dict, to_dict
from pipeline.tracking.runs import Run
from pipeline.training.tasks import Task, task_of


@dataclass(frozen=True)
class Job:
    """Everything that a worker is told; it does not read the command line, environment or working directory.

    Attributes:
        config: the resolved config.
        stream: the network's name: rgb, flow, two_stream for one that takes both, or matching.
        run: the MLflow run.
        label: prefix of the worker's messages when several trainings run side by side.
    """

    config: Config
    stream: str
    run: Run
    label: str = ""

    @property
    def task(self) -> Task:
        """What the network learns."""
        return task_of(self.config, self.stream)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that the network takes."""
        return self.task.streams

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain values, as Ray Train passes it to workers."""
        run = {"uri": self.run.uri, "run_id": self.run.run_id}
        return {"config": to_dict(self.config), "stream": self.stream, "run": run, "label": self.label}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Job":
        """Build a job from what `to_dict` returned."""
        return cls(from_dict(Config, values["config"]), values["stream"], Run(**values["run"]), values["label"])
