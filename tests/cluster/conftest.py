"""What the scenarios share: the cluster, a small job for it, and what this job gives without a fault."""

from collections.abc import Iterator

import pytest

from pipeline.command_line import override
from pipeline.config import save
from pipeline.recipes.demo import demo
from tests.cluster.machines import NoMachinesError
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import shards_of

INGEST = ("jobs/ingest.py", "--config", "/mnt/small.yaml")
SMALL = {
    "storage": "/mnt/out",
    "catalog.videos": "/mnt/videos",
    "catalog.motion_shapes.train": "3",  # of each of eight classes
    "catalog.motion_shapes.val": "1",
    "catalog.motion_shapes.test": "1",
    "ingest.clips_per_shard": "4",
    "ingest.flow.backend": "opencv",  # it needs no compilation
    "ingest.flow.nscales": "1",
    "ingest.flow.warps": "1",
    "ingest.flow.epsilon": "0.1",
    "model.streams": "rgb",
}


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that all scenarios share; each leaves it whole. Where machines cannot be made, all are skipped."""
    try:
        cluster = Cluster(tmp_path_factory.mktemp("ray"))
    except NoMachinesError as reason:
        pytest.skip(str(reason))
    try:
        small = override(demo(), {**SMALL, "tracking.uri": cluster.tracking})
        save(small, cluster.path("/mnt/small.yaml"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_PROXY", "*")  # MLflow's client in this process asks the machines themselves
            yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def shards(nodes: Cluster) -> dict[str, str]:
    """What the ingest makes without a fault, at /mnt/shards/whole."""
    job = nodes.submit(*INGEST, "--ingest.shards", "/mnt/shards/whole")
    assert job.end() == 0, job.text
    return shards_of(nodes.path("/mnt/shards/whole"))
