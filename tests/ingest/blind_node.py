"""A cluster of its own, of two nodes, of which the second does not see the videos; see `test_nodes`.

python -m tests.ingest.blind_node CONFIG.yaml FOLDER
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

from pipeline.config import Config, load
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import IngestError, ingest
from pipeline.shards import read_manifest

RAY = Path(sys.executable).with_name("ray")


def main(config: Config, folder: Path) -> None:
    """Ingest with the blind node, and then without it; what happened goes into result.json."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    hide = 'mount -t tmpfs tmpfs "$0" && exec "$@"'  # in a mount namespace of this process and its children
    start = [RAY, "start", f"--address={cluster.address}", "--num-cpus=2", "--block", "--disable-usage-stats"]
    with (folder / "node.log").open("w") as log:
        node = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", hide, folder / hidden(config), *start], stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    wait(lambda: len(alive()) == 2, folder)
    blind = next(each["NodeID"] for each in ray.nodes() if each["Resources"].get("CPU") == 2)
    result = {"blind": blind, "seeing": ray.get_runtime_context().get_node_id()}
    try:
        ingest(config, configured_catalog(config), lambda line: None)
    except IngestError as error:
        result["message"] = str(error)
    staged = sorted(part for part in Path(config.ingest.shards, "_staging").glob("*/*") if part.suffix != ".tmp")
    result["staged"] = [pq.read_table(part)["status"][0].as_py() for part in staged]
    os.killpg(node.pid, 15)
    node.wait()
    wait(lambda: len(alive()) == 1, folder)
    ingest(config, configured_catalog(config), lambda line: None)
    result["splits"] = read_manifest(config.ingest.shards)["splits"]
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


def hidden(config: Config) -> str:
    """The folder that the second node does not see: that of the videos, or of the archives."""
    return "tars" if config.catalog.archives else "videos"


if __name__ == "__main__":
    if not shutil.which("unshare"):
        sys.exit(3)
    main(load(Config, Path(sys.argv[1])), Path(sys.argv[2]))
