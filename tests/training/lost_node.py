"""A cluster of its own, of a head and two nodes, which are announced to go and then go; see `test_failures`.

python -m tests.training.lost_node CONFIG.yaml FOLDER
"""

import dataclasses
import json
import os
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster
from ray.train import UserCallback

from pipeline.config import Config, load
from pipeline.training.failures import TrainingError
from pipeline.training.reporting import is_whole
from tests.forked_workers import forked_workers
from tests.training.faults import fit

NOTICE_S = 120


class Announce(UserCallback):
    """After the first report announces a node's end, as clouds do; at the next one, touches a file."""

    def __init__(self, gcs: str, node: str, file: Path) -> None:
        self.gcs, self.node, self.file, self.announced = gcs, node, file, False

    def after_report(self, run_context, metrics, checkpoint):
        from ray._raylet import GcsClient  # here, since these cannot be pickled with the class
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        if not self.announced:
            deadline = time.time_ns() // 1_000_000 + 1000 * NOTICE_S
            reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            self.announced, _ = GcsClient(address=self.gcs).drain_node(self.node, reason, "test", deadline)
        elif not is_whole(metrics[0]):
            self.file.touch()


def main(config: Config, folder: Path) -> None:
    """Lose a node after its notice; then ask for more workers than there is room for, and lose the other node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    noticed = [folder / f"noticed{node}" for node in range(2)]

    def remove(node: int) -> UserCallback:
        def wait() -> None:
            while not noticed[node].exists():
                time.sleep(0.1)
            cluster.remove_node(nodes[node], allow_graceful=False)

        threading.Thread(target=wait, daemon=True).start()
        return Announce(cluster.address, nodes[node].node_id, noticed[node])

    def line(name: str, min_workers: int | None, callbacks: tuple[UserCallback, ...] = ()) -> str:
        resources = dataclasses.replace(elastic, min_workers=min_workers, wait_minutes=0.1)
        try:
            fit(dataclasses.replace(config, resources=resources), folder, callbacks, folder=folder / name)
        except TrainingError as error:
            return str(error)
        return ""

    elastic = dataclasses.replace(config.resources, worker_cpus=2, loader_cpus=0.25, min_workers=1)
    trained, _ = fit(dataclasses.replace(config, resources=elastic), folder, callbacks=(remove(1),))
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "3"
    lines = [line("elastic", 2), line("fixed", None), line("lost", 1, (remove(0),))]
    result = {"history": trained.history, "noticed": [file.exists() for file in noticed], "lines": lines}
    (folder / "result.json").write_text(json.dumps(result))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    with forked_workers(Path(sys.argv[2])):
        main(load(Config, Path(sys.argv[1])), Path(sys.argv[2]))
