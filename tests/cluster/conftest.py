"""What the scenarios share: the cluster, a small job for it, and what this job gives without a fault."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline.command_line import override
from pipeline.config import Config, SweepConfig, save
from pipeline.recipes.demo import demo
from tests.cluster.jobs import Job
from tests.cluster.machines import NoMachinesError
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, epochs_of, features_of, shards_of, swept_of, trained_of

EPOCHS = 4
INGEST = ("jobs/ingest.py", "--config", "/mnt/small.yaml")
TRAIN = ("jobs/pretrain_kinetics.py", "--config", "/mnt/small.yaml", "--ingest.shards", "/mnt/shards/whole")
SWEEP = ("jobs/sweep.py", "--config", "/mnt/sweep.yaml")
EVALUATE = ("jobs/evaluate.py", "--run", "whole", "--storage", "/mnt/out")
EXTRACT = ("jobs/extract_features.py", "/mnt/shards/whole", "--storage", "/mnt/out", "--run", "whole", "--step", "1")
SMALL = {
    "storage": "/mnt/out",
    "catalog.videos": "/mnt/videos",
    "catalog.motion_shapes.train": "6",  # of each of eight classes: 4 steps of 12 clips
    "catalog.motion_shapes.val": "1",
    "catalog.motion_shapes.test": "1",
    "ingest.clips_per_shard": "4",
    "ingest.flow.backend": "opencv",  # it needs no compilation
    "ingest.flow.nscales": "1",
    "ingest.flow.warps": "1",
    "ingest.flow.epsilon": "0.1",
    "model.streams": "rgb",
    "clips.frames": "8",
    "training.epochs": str(EPOCHS),  # a fault after the first leaves three
    "training.batch_size": "4",
    "training.keep": "last",
    "optimiser.lr": "0.001",
    "schedule.warmup_steps": "0",
    "schedule.stop_lr": "1e-9",
    "resources.workers": "auto",
    "resources.worker_cpus": "auto",
    "resources.loader_cpus": "auto",
    "resources.wait_minutes": "5",
    "tracking.registered_model": "",
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
        save(sweep_of(small), cluster.path("/mnt/sweep.yaml"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_PROXY", "*")  # MLflow's client in this process asks the machines themselves
            yield cluster
    finally:
        cluster.close()


@pytest.fixture(autouse=True)
def _whole_again(nodes: Cluster) -> Iterator[None]:
    """After each scenario, also after one that fails, all machines are there, and its checkpoints take no room."""
    yield
    nodes.mend()
    for pattern in ("out/runs/*", "sweeps*/runs/*", "shards/*", "features/*", "filler"):
        for path in nodes.path("/mnt").glob(pattern):
            if path.is_dir() and path.name != "whole":
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file():
                path.unlink()


def sweep_of(small: Config) -> SweepConfig:
    """Two trials of one worker each, at the same time."""
    resources = replace(small.resources, workers=1, worker_cpus=0.6, loader_cpus=0.1)
    training = replace(small.training, epochs=2)
    ingest = replace(small.ingest, shards="/mnt/shards/whole")
    base = replace(small, resources=resources, training=training, ingest=ingest)
    return SweepConfig(base=base, axes={"seed": "0,1"}, concurrent=2, test="none")


def train(nodes: Cluster, name: str, *words: str) -> Job:
    """Submit the training, and return when its first epoch is done."""
    job = nodes.submit(*TRAIN, "--name", name, *words)
    wait_for_epoch(nodes, job, name, 1)
    return job


def wait_for_epoch(nodes: Cluster, job: Job, name: str, epoch: int) -> None:
    """Wait for the checkpoint of an epoch, and not for its line, which comes seconds later; then others are left."""
    folder = nodes.path(f"/mnt/out/runs/{name}/rgb")
    job.wait_until(lambda: epochs_of(folder) >= epoch)
    assert epochs_of(folder) < EPOCHS, f"over before the fault:\n{job.text}"


def survived(job: Job) -> list[str]:
    """The lines in which a training says that it goes on without a rank."""
    return [line for line in job.said if "all workers go on from the last checkpoint" in line]


def resume(nodes: Cluster, name: str) -> Job:
    """Let a training go on that has ended early, to its end."""
    job = nodes.submit(TRAIN[0], "--resume", name, "--storage", "/mnt/out")
    assert job.end() == 0, job.text
    return job


@pytest.fixture(scope="session")
def shards(nodes: Cluster) -> dict[str, str]:
    """What the ingest makes without a fault, at /mnt/shards/whole."""
    job = nodes.submit(*INGEST, "--ingest.shards", "/mnt/shards/whole")
    assert job.end() == 0, job.text
    assert nodes.path("/mnt/shards/whole/_manifest.json").exists(), job.text
    return shards_of(nodes.path("/mnt/shards/whole"))


@pytest.fixture(scope="session")
def trained(nodes: Cluster, shards: dict[str, str]) -> History:
    """What the training makes of it without a fault, under the name `whole`."""
    job = nodes.submit(*TRAIN, "--name", "whole")
    assert job.end() == 0, job.text
    return trained_of(nodes, "whole")


@pytest.fixture(scope="session")
def features(nodes: Cluster, trained: History) -> str:
    """The digest of the features that this training's network makes of it without a fault."""
    job = nodes.submit(*EXTRACT, "--out", "/mnt/features/whole")
    assert job.end() == 0, job.text
    return features_of(nodes.path("/mnt/features/whole"))


@pytest.fixture(scope="session")
def swept(nodes: Cluster, shards: dict[str, str]) -> list[list[float]]:
    """What the trials of the sweep give without a fault."""
    job = nodes.submit(*SWEEP, "--base.storage", "/mnt/sweeps")
    assert job.end(400) == 0, job.text
    return swept_of(nodes.path("/mnt/sweeps"))
