"""MLflow runs: made once, attached to, ended with the status that is true."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow.tracking import MlflowClient

from pipeline.config import ConfigError, flatten
from pipeline.tracking.runs import Run, every_page, experiment_id, tracked_run


def status(run: Run) -> str:
    return run.client.get_run(run.run_id).info.status


def test_a_run_that_ends_well_is_finished(uri):
    with tracked_run(uri, "e", "name", tags={"model": "i3d"}) as run:
        assert status(run) == "RUNNING"
    assert status(run) == "FINISHED"
    assert run.client.get_run(run.run_id).data.tags["model"] == "i3d"
    assert run.client.get_run(run.run_id).info.run_name == "name"


def test_an_error_fails_it_and_an_interrupt_kills_it(uri):
    with pytest.raises(RuntimeError), tracked_run(uri, "e", "a") as failed:
        raise RuntimeError
    with pytest.raises(KeyboardInterrupt), tracked_run(uri, "e", "b") as killed:
        raise KeyboardInterrupt
    assert (status(failed), status(killed)) == ("FAILED", "KILLED")


def test_sigterm_kills_it_too(uri):
    """What `ray job stop` sends."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), tracked_run(uri, "e", "a") as run:
        signal.raise_signal(signal.SIGTERM)
    assert status(run) == "KILLED"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_resumed_run_is_the_same_run(uri):
    with tracked_run(uri, "e", "a") as first:
        first.log_metrics({"val/loss": 2.0}, step=1)
    first.client.set_terminated(first.run_id, "FAILED")
    with tracked_run(uri, "e", "a", resume=first.run_id) as second:
        second.log_metrics({"val/loss": 1.0}, step=2)
    assert second == first
    assert [m.value for m in first.client.get_metric_history(first.run_id, "val/loss")] == [2.0, 1.0]
    assert status(first) == "FINISHED"


def test_a_run_that_goes_on_does_not_say_how_it_ended_before(uri):
    with pytest.raises(RuntimeError), tracked_run(uri, "e", "a", tags={"stopped_early": "after epoch 1"}) as first:
        raise RuntimeError
    assert "last_failure" in first.client.get_run(first.run_id).data.tags
    with tracked_run(uri, "e", "a", resume=first.run_id):
        pass
    assert not {"last_failure", "stopped_early"} & first.client.get_run(first.run_id).data.tags.keys()


def test_a_run_that_this_server_does_not_have_begins_anew(uri, capsys):
    with tracked_run(uri, "e", "a", resume="0" * 32) as run:
        pass
    assert run.run_id != "0" * 32
    assert status(run) == "FINISHED"
    assert f"has no run {'0' * 32}; a new run begins there" in capsys.readouterr().err


def test_a_child_hangs_under_its_parent(uri):
    with tracked_run(uri, "e", "parent") as parent, tracked_run(uri, "e", "child", parent=parent) as child:
        pass
    assert child.client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_a_config_is_logged_as_parameters_and_whole(uri, tmp_path):
    config = {"training": {"epochs": 3}, "model": {"options": {}, "note": "x" * 9000}, "seed": 0}
    with tracked_run(uri, "config", "a", artifacts=str(tmp_path / "artifacts")) as run:
        run.log_config(config)
    logged = run.client.get_run(run.run_id).data.params
    assert (logged["training.epochs"], logged["seed"], len(logged["model.note"])) == ("3", "0", 6000)
    assert "x" * 9000 in (next((tmp_path / "artifacts").rglob("config.yaml"))).read_text()
    assert flatten(config)["training.epochs"] == 3


def test_a_shard_set_is_an_input_under_its_digest(uri, tmp_path):
    manifest = {"dataset": "k", "digest": "0123456789abcdef", "splits": {"train": {"present": 7}}}
    with tracked_run(uri, "e", "a") as run:
        run.log_shards(str(tmp_path), manifest, {"train": "training"})
    (used,) = run.client.get_run(run.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("k-train", "0123456789abcdef")
    assert {tag.key: tag.value for tag in used.tags} == {
        "mlflow.data.context": "training", "split": "train", "clips": "7",
    }  # fmt: skip


def test_runs_that_begin_at_the_same_moment_find_one_experiment_and_one_data_set(uri, tmp_path):
    client, together = MlflowClient(uri), threading.Barrier(4, timeout=30)
    client.search_experiments()  # the tables are there

    def begun(_: int) -> Run:
        together.wait()
        run = Run(uri, client.create_run(experiment_id(client, "at once", None)).info.run_id)
        for made in range(5):
            together.wait()
            manifest = {"dataset": "k", "digest": f"{made:016}", "splits": {"train": {"present": 7}}}
            run.log_shards(str(tmp_path), manifest, {"train": "training"})
        return run

    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(begun, range(4)))
    found = [client.get_run(run.run_id) for run in runs]
    assert len({run.info.experiment_id for run in found}) == 1
    assert [len(run.inputs.dataset_inputs) for run in found] == [5] * 4


def test_a_storage_that_was_moved_away_from_its_database_is_said_before_anything_is_logged(tmp_path):
    before, now, uri = tmp_path / "before", tmp_path / "now", f"sqlite:///{tmp_path}/mlflow.db"
    before.mkdir()
    with tracked_run(uri, "e", "a", artifacts=f"{before}/mlartifacts") as run:
        run.log_text("a.txt", "a")
    before.rename(now)
    moved = {"uri": uri, "experiment": "e", "name": "b", "artifacts": f"{now}/mlartifacts"}
    for resume in (None, run.run_id):
        says = pytest.raises(ConfigError, match=r"^storage: it was moved, .*; ln -s \S+now \S+before brings")
        with says, tracked_run(**moved, resume=resume):
            pass
    before.symlink_to(now)
    with tracked_run(**moved, resume=run.run_id) as again:
        again.log_text("b.txt", "b")
    assert sorted(one.path for one in again.client.list_artifacts(run.run_id)) == ["a.txt", "b.txt"]


def test_children_are_found_on_every_page(uri):
    with tracked_run(uri, "paged", "parent") as parent:
        for number in range(3):
            with tracked_run(uri, "paged", f"child {number}", parent=parent):
                pass
    experiment = parent.client.get_run(parent.run_id).info.experiment_id
    paged = every_page(lambda token: parent.client.search_runs([experiment], max_results=1, page_token=token))
    assert sorted(run.info.run_name for run in paged) == ["child 0", "child 1", "child 2", "parent"]
    assert sorted(run.info.run_name for run in parent.children()) == ["child 0", "child 1", "child 2"]
