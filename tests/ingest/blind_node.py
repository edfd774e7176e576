"""A cluster of its own, of two nodes, of which the second does not see the folders KIND; see `test_nodes`.

python -m tests.ingest.blind_node FOLDER KIND=CONFIG.yaml ...
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

from pipeline.config import Config, load
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import IngestError, ingest
from pipeline.shards import read_manifest
from tests.forked_workers import forked_workers

RAY = Path(sys.executable).with_name("ray")


def main(configs: dict[str, Config], folder: Path) -> None:
    """Make each set with the blind node, and then without it; what happened goes into result.json."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    hide = 'while [ "$0" != "$1" ]; do mount -t tmpfs tmpfs "$1"; shift; done; shift; exec "$@"'  # in its own namespace
    start = [RAY, "start", f"--address={cluster.address}", "--num-cpus=2", "--block", "--disable-usage-stats"]
    with (folder / "node.log").open("w") as log:
        node = subprocess.Popen(
            ["unshare", "-m", "sh", "-ec", hide, "--", *(folder / kind for kind in configs), "--", *start],
            stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    wait(lambda: len(alive()) == 2, folder)
    result: dict[str, Any] = {
        "blind": next(each["NodeID"] for each in ray.nodes() if each["Resources"].get("CPU") == 2),
        "seeing": ray.get_runtime_context().get_node_id(),
    }
    for kind, config in configs.items():
        try:
            ingest(config, configured_catalog(config), lambda line: None)
        except IngestError as error:
            result[kind] = {"message": str(error)}
        staged = sorted(part for part in Path(config.ingest.shards, "_staging").glob("*/*") if part.suffix != ".tmp")
        result[kind]["staged"] = [pq.read_table(part)["status"][0].as_py() for part in staged]
    os.killpg(node.pid, 15)
    node.wait()
    wait(lambda: len(alive()) == 1, folder)
    for kind, config in configs.items():
        ingest(config, configured_catalog(config), lambda line: None)
        result[kind]["splits"] = read_manifest(config.ingest.shards)["splits"]
    (folder / "result.json").write_text(json.dumps(result))
    ray.shutdown()
    cluster.shutdown()


def alive() -> list[str]:
    """The ids of the nodes that are there."""
    return [each["NodeID"] for each in ray.nodes() if each["Alive"]]


def wait(reached: Callable[[], bool], folder: Path, seconds: float = 150) -> None:
    """Poll the cluster, which does not say when a node has come or gone."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, (folder / "node.log").read_text()[-4000:]
        time.sleep(0.2)


if __name__ == "__main__":
    if not shutil.which("unshare"):
        sys.exit(3)
    paths = dict(pair.split("=", 1) for pair in sys.argv[2:])
    with forked_workers(Path(sys.argv[1])):
        main({kind: load(Config, Path(path)) for kind, path in paths.items()}, Path(sys.argv[1]))
