"""A cluster of two nodes, on which one sweep runs undisturbed and another is killed three times; see `test_sweep`.

python -m tests.experiments.killed_sweep WHOLE.yaml KILLED.yaml FOLDER
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray._private.state import actors
from ray.cluster_utils import Cluster

from tests.forked_workers import forked_workers

PATIENCE_S = 400


def main(whole: Path, killed: Path, folder: Path) -> None:
    """Kill -9 the driver, then the process of a training, then the second node, each when there are new checkpoints."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    node = cluster.add_node(num_cpus=2)
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    subprocess.run(command(whole), env=environment(cluster), check=True, stdout=subprocess.DEVNULL)

    runs, seen = folder / "killed" / "runs", set[Path]()

    def started() -> subprocess.Popen:
        return subprocess.Popen(command(killed), env=environment(cluster), stdout=subprocess.DEVNULL)

    def workers(node_id: str = "") -> list[int]:
        """Processes of trainings, on all nodes or on one, once a training has written a checkpoint."""
        if not (new := set(runs.glob("*/flow/checkpoint_*")) - seen):
            return []
        found = [
            actor["Pid"]
            for actor in actors().values()
            if actor["State"] == "ALIVE"
            and "RayTrainWorker" in actor["ActorClassName"]
            and node_id in ("", actor["Address"]["NodeID"])
        ]
        if found:
            seen.update(new)
        return found

    job = started()
    until(workers, job)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    job = started()
    os.kill(until(workers, job)[0], signal.SIGKILL)
    until(lambda: workers(node.node_id), job)
    cluster.remove_node(node, allow_graceful=False)
    code = job.wait()
    alive = sum(each["Alive"] for each in ray.nodes())
    (folder / "result.json").write_text(json.dumps({"code": code, "nodes": alive}))
    ray.shutdown()
    cluster.shutdown()


def command(config: Path) -> list[str]:
    return [sys.executable, "jobs/sweep.py", "--config", str(config)]


def environment(cluster: Cluster) -> dict[str, str]:
    return {**os.environ, "RAY_ADDRESS": cluster.address}


def until(found: Callable[[], list[int]], job: subprocess.Popen) -> list[int]:
    """Wait for processes to kill, while the sweep runs."""
    end = time.monotonic() + PATIENCE_S
    while not (there := found()):
        assert job.poll() is None, f"the sweep ended with status {job.returncode} before it was killed"
        assert time.monotonic() < end, "no training has a checkpoint"
        time.sleep(0.1)
    return there


if __name__ == "__main__":
    with forked_workers(Path(sys.argv[3])):
        main(*map(Path, sys.argv[1:]))
