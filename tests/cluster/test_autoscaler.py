"""A job that finds too few CPUs asks the autoscaler for them, says so, and waits.

The autoscaler is Ray's own; its provider starts "machines" as processes beside the head.
"""

import json

import pytest

from tests.cluster.conftest import INGEST
from tests.cluster.ray_cluster import GCS, Cluster, answers
from tests.cluster.results import shards_of

pytestmark = pytest.mark.cluster
COMMANDS = (
    "cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands",
    "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands", "rsync_exclude", "rsync_filter",
)  # fmt: skip
HEAD_ID = "f" * 51 + "00000"  # the provider knows the head under this id


def test_an_ingest_waits_for_the_machine_that_it_needs(nodes: Cluster):
    head = nodes.machine("scaled", 60)
    worker = {"resources": {"CPU": 1, "object_store_memory": 100 << 20}, "node_config": {}, "max_workers": 1}
    config = {
        "cluster_name": "scaled",
        "max_workers": 1,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"{head.address}:{GCS}",
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {**worker, "min_workers": 0},
        },
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{key: [] for key in COMMANDS},
    }
    (head.folder / "tmp/autoscaler.json").write_text(json.dumps(config))
    variables = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    words = ["--head", f"--port={GCS}", "--num-cpus=0", "--autoscaling-config=/tmp/autoscaler.json"]
    nodes.start_ray(head, words, variables)
    nodes.wait(lambda: answers(head.address, GCS), "head", head)
    few = ("--ingest.shards", "/mnt/shards/scaled", "--catalog.limit", "2")  # of each split
    job = nodes.run(head, *INGEST, *few, address=f"{head.address}:{GCS}")
    try:
        assert job.end() == 0, job.text
    finally:
        head.kill()
    assert shards_of(nodes.path("/mnt/shards/scaled")), job.text
    (line,) = [line for line in job.said if "waiting for more machines" in line]
    assert line.startswith("resources.ingest_cpus: 1, the cluster has 0; waiting for more machines, 0.0 of 5 minutes")
