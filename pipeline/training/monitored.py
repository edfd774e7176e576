"""The training loop, and beside it what its machine is and what it uses of it, in the stream's run."""

from collections.abc import Mapping
from typing import Any

import ray.train

from pipeline.tracking.environment import environment, system_metrics
from pipeline.tracking.outages import impatient, tolerated
from pipeline.training.job import Job
from pipeline.training.loop import train_loop


def monitored_loop(values: Mapping[str, Any]) -> list[dict[str, float]]:
    """`train_loop`; one worker of each machine logs its system metrics, rank 0 its environment."""
    impatient()
    here, run = ray.train.get_context(), Job.from_dict(values).run
    if here.get_world_rank() == 0:
        with tolerated(run.uri):
            run.log_json("environment.json", environment())
    if here.get_local_rank() != 0:
        return train_loop(values)
    with system_metrics(run, f"node_{here.get_node_rank()}"):
        return train_loop(values)
