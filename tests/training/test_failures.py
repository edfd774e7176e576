"""A run is never lost: what happens when workers, drivers, losses and disks fail, on a real group of two workers."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
from mlflow.tracking import MlflowClient
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import ControllerError, UserCallback, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.storage import StorageContext

from pipeline.command_line import override
from pipeline.config import Config, save
from pipeline.networks import load_network
from pipeline.training import node_address
from pipeline.training.failures import EndOrGoOn, TrainingError, explained, save_tensors, starts_again
from tests.training.faults import KillAfter, fit

pytestmark = pytest.mark.ray
CHECKOUT = Path(__file__).parents[2]
STEADY = ("train/loss", "train/top1", "train/clips", "val/loss", "val/top1", "lr")


@pytest.fixture(scope="module")
def config(shards) -> Config:
    """Two epochs of four steps, with all that a training carries from step to step; validated on 8 clips."""
    carried = {
        "training.epochs": "2", "training.batch_size": "2", "training.average": "0.5", "training.mixup": "0.4",
        "training.val_split": "test",
    }  # fmt: skip
    return override(shards, carried)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Not interrupted, and without checkpoints inside its epochs."""
    return fit(config, tmp_path_factory.mktemp("whole"))[0]


def same(one, other):
    """The same history and, to the last bit or nearly, the same weights."""
    assert len(one.history) == len(other.history)
    for ours, theirs in zip(one.history, other.history, strict=True):
        assert [ours[name] for name in STEADY] == pytest.approx([theirs[name] for name in STEADY], rel=1e-5)
    weights = [torch.load(trained.weights, weights_only=True) for trained in (one, other)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-6, msg=name)


@ray.remote(num_cpus=0, max_retries=0)
def driver(config: Config, folder: Path) -> None:
    """A process that starts a training; a worker is killed after the first report, itself after the sixth."""
    fit(config, folder, callbacks=(KillAfter(1), KillAfter(6, os.getpid())))


@pytest.mark.slow
def test_a_run_killed_twice_is_the_run_that_was_not(config, whole, tmp_path):
    often = override(config, {"training.checkpoint_steps": "1", "tracking.every_steps": "1"})
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(driver.remote(often, tmp_path))
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert run.info.status == "RUNNING"  # nobody was left to end it
    resumed, after = fit(often, tmp_path, resume=run.info.run_id)
    same(resumed, whole)
    assert [row["perf/restarts"] for row in resumed.history] == [1, 2]
    assert client.get_run(after.run_id).info.status == "FINISHED"
    points = client.get_metric_history(after.run_id, "step/loss")
    assert [point.step for point in points] == list(range(1, 9))  # each once, whatever was made again
    logged = client.get_metric_history(after.run_id, "val/loss")
    assert [(metric.step, metric.value) for metric in logged] == [
        (epoch, row["val/loss"]) for epoch, row in enumerate(resumed.history, start=1)
    ]


class KillController(UserCallback):
    """kill -9 of the controller itself after its first report, once."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def after_report(self, run_context, metrics, checkpoint):
        if not self.file.exists():
            self.file.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_training_whose_controller_is_killed_starts_it_again_and_says_so(config, whole, tmp_path, capsys):
    trained, _ = fit(config, tmp_path, callbacks=(KillController(tmp_path / "killed"),))
    same(trained, whole)
    says = "the process that controls the training was lost (killed, or its node is gone); it starts again"
    assert capsys.readouterr().err.count(f"flow: {says}") == 1


class KillAsItStarts(ControllerCallback):
    """kill -9 of a worker, once, while the workers make their process group."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def after_controller_start(self, train_run_context):
        file, use = self.file, node_address.use_node_address

        def killed() -> None:
            with contextlib.suppress(FileExistsError):
                file.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
            use()

        node_address.use_node_address = killed


@pytest.mark.slow
def test_a_worker_that_dies_as_it_starts_leaves_its_room_to_the_next(config, whole, tmp_path):
    """The workers need three of the four CPUs, so that there is no room for others beside them."""
    large = override(config, {"resources.worker_cpus": "1.4", "resources.loader_cpus": "0.1"})
    large = override(large, {"resources.wait_minutes": "1"})
    trained, _ = fit(large, tmp_path, callbacks=(KillAsItStarts(tmp_path / "killed"),))
    assert (tmp_path / "killed").exists()
    same(trained, whole)


class CountFailures(UserCallback):
    """Writes a line for every failure that the controller sees."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def after_exception(self, run_context, worker_exceptions):
        with self.path.open("a") as file:
            file.write("failed\n")


@pytest.mark.slow
def test_a_loss_that_explodes_ends_the_run_at_once_and_leaves_the_last_good_weights(config, tmp_path):
    exploding = override(config, {"schedule.name": "step", "schedule.milestones": "1", "schedule.rates": "1e30"})
    line = r"^flow: loss is (nan|inf) at step \d+; lower optimiser\.lr; --resume tiny --optimiser\.lr \S+ goes on from"
    with pytest.raises(TrainingError, match=line) as failed:
        fit(exploding, tmp_path, callbacks=(CountFailures(tmp_path / "failures"),))
    assert (tmp_path / "failures").read_text() == "failed\n"
    (kept,) = (tmp_path / "flow").glob("checkpoint_*/model.pt")
    network = load_network(config.model, "flow", 8, kept).eval()
    assert math.isfinite(network(torch.zeros(1, 2, 4, 32, 32)).sum())
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert (run.info.status, run.data.tags["last_failure"]) == ("FAILED", str(failed.value))


def test_a_gpu_out_of_memory_is_not_tried_again_and_says_what_to_lower(config, tmp_path):
    """The loss's test shows that what this callback raises ends a real run."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ...")
    with pytest.raises(ControllerError) as ended:
        EndOrGoOn("flow", 2).after_exception(None, {0: RuntimeError("Connection closed by peer"), 1: error})
    says = str(explained(ended.value, config, "flow", str(tmp_path)))
    assert says.startswith("flow: the GPU ran out of memory with training.batch_size 2, evaluation.batch_size 16; ")
    assert "--resume tiny --training.batch_size 1 --training.accumulate 2 makes the same steps" in says


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RayActorError(), r"^flow: workers or their nodes were lost more than 2 times \(resources\.max_failures\)"),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), "^flow: a node ran out of memory"),
    ],
    ids=["lost", "memory"],
)
def test_lost_workers_and_nodes_out_of_memory_are_tried_again_and_named_in_the_end(error, line, config, capsys):
    failures = {0: RayActorError(), 1: WorkerHealthCheckFailedError("", failure=error)}  # rank 0 needed another actor
    callback = EndOrGoOn("flow", 2)
    for _ in range(3):  # the third ends the run
        callback.after_exception(None, failures)
    why = "killed, or its node is gone" if isinstance(error, RayActorError) else "memory"
    says = f"flow: lost rank 1 ({why}); all workers go on from the last checkpoint"
    assert capsys.readouterr().err.splitlines() == [says, says]
    assert re.search(line, str(explained(WorkerGroupError("", failures), config, "flow", "/s")))


GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:4242"


@pytest.mark.parametrize(
    "error", [RuntimeError(GLOO), torch.distributed.DistBackendError("NCCL error ..."), RayActorError()]
)
def test_until_ray_has_noticed_a_lost_worker_the_others_tell_of_it(error, config, capsys):
    failures = {0: error, 2: error}
    callback = EndOrGoOn("flow", 1)
    for _ in range(2):
        callback.after_exception(None, failures)
    lost = "ranks 0, 2 lost the connection to another (killed, or its node is gone)"
    assert capsys.readouterr().err == f"flow: {lost}; all workers go on from the last checkpoint\n"
    says = str(explained(WorkerGroupError("", failures), config, "flow", "/s"))
    assert says.startswith("flow: workers or their nodes were lost more than 2 times (resources.max_failures); ")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RayActorError(), "(resources.max_failures); the same command tries it again"),
        (FloatingPointError("flow: loss is nan at step 3; lower optimiser.lr"), "at step 3; lower optimiser.lr"),
        (MemoryError(), "less training.batch_size and more training.accumulate make the same steps, more resources."),
    ],
)
def test_a_trial_goes_on_by_the_command_of_its_experiment(error, line, config):
    says = str(explained(WorkerGroupError("", {0: error}), config, "flow", "/s", trial=True))
    assert line in says
    assert "--resume" not in says


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ControllerError(OutOfMemoryError("")), "a worker was lost as it started (memory); all workers start again"),
        (RayActorError(), "the process that controls the training was lost (killed, or its node is gone); it starts"),
        (ControllerError(ValueError("")), None),
        (WorkerGroupError("", {0: RayActorError()}), None),  # Ray Train has started the workers again already
    ],
)
def test_what_ray_train_does_not_start_again_starts_again(error, says):
    assert (starts_again(error) or "None").startswith(str(says))


def test_a_storage_that_a_node_does_not_see_ends_the_run_at_once(config, tmp_path):
    """Ray Train's own check of a folder in which the driver has written nothing."""
    with pytest.raises(RuntimeError) as unseen:
        StorageContext(str(tmp_path), "flow", read_only=True)._check_validation_file()
    with pytest.raises(ControllerError) as ended:
        EndOrGoOn("flow", 2).after_exception(None, {0: unseen.value})
    says = "flow: /s is not there on the node of a worker; mount a folder that all nodes share, then --resume tiny"
    assert str(explained(ended.value, config, "flow", "/s")).startswith(says)


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of 250 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=250m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


def test_a_checkpoint_that_does_not_fit_is_a_full_disk(disk):
    with pytest.raises(OSError, match=r"No space left on device.*large\.pt"):
        save_tensors({"a": torch.zeros(80_000_000)}, disk / "large.pt")


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_more_room_lets_it_go_on(config, whole, tmp_path, disk):
    """On a real file system that holds one checkpoint, of 150 MB, and not two."""
    with pytest.raises(TrainingError, match=r"flow: no space left on the disk of .*disk.*--resume tiny continues"):
        fit(config, tmp_path, folder=disk)
    (kept,) = [path for path in (disk / "flow").iterdir() if path.is_dir()]  # the half of the second is gone
    assert torch.load(kept / "training.pt", weights_only=True)["epoch"] == 1
    subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True, capture_output=True)
    same(fit(config, tmp_path, folder=disk)[0], whole)


@pytest.mark.slow
def test_a_node_that_is_announced_to_go_leaves_a_checkpoint_and_the_rest_goes_on_with_all_clips(config, tmp_path):
    """In a cluster of its own; then there is room for one worker where two are asked for, and in the end for none."""
    save(override(config, {"training.epochs": "20"}), tmp_path / "config.yaml")  # some are over before it is asked
    quick = {
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1",
        "RAY_idle_worker_killing_time_threshold_ms": "60000",  # as `pipeline.cluster.join` does
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.3",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # it has several nodes; `pipeline.cluster` says no for its own
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.lost_node", str(tmp_path / "config.yaml"), str(tmp_path)],
        cwd=CHECKOUT, env={**os.environ, **quick, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["noticed"] == [True, True]
    workers = [row["perf/workers"] for row in result["history"]]
    assert workers == sorted(workers, reverse=True)
    assert set(workers) == {1, 2}
    # Not the losses: one worker has other threads, so other rounding, which batch norm over two clips makes large.
    assert {row["train/clips"] for row in result["history"]} == {16}
    says = "flow: no room for {} in 0.1 minutes (resources.wait_minutes); --resume tiny continues it when there is"
    fewer = says.format("2 workers") + ", or set resources.min_workers to fewer"
    assert result["lines"] == [fewer, fewer, says.format("1 worker")]
    assert list((tmp_path / "lost" / "flow").glob("checkpoint_*/model.pt"))
