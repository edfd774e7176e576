"""A storage that was moved or copied with its database: runs lead to the artifacts in it, and never to the original."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow.tracking._tracking_service import utils

from pipeline.sqlite import address_of
from pipeline.tracking.moved import follow_storage
from pipeline.tracking.runs import Run, artifact_root, tracked_run


def logged(storage: Path, name: str, text: str, resume: str | None = None) -> Run:
    """A run of the storage that has an artifact, logged as by a process of its own."""
    utils._artifact_repos_cache.clear()
    uri = address_of(storage / "mlflow.db")
    with tracked_run(uri, "e", name, resume=resume, artifacts=artifact_root(uri, str(storage))) as run:
        run.log_text(f"{text}.txt", text)
    return run


def artifacts(storage: Path, run: Run) -> dict[str, str]:
    """The artifacts of a run by name, as the database of this storage leads to them."""
    utils._artifact_repos_cache.clear()
    client = Run(address_of(storage / "mlflow.db"), run.run_id).client
    return {
        one.path: Path(client.download_artifacts(run.run_id, one.path)).read_text()
        for one in client.list_artifacts(run.run_id)
    }


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


NAMES = ["plain", "a%20b", "what?", "a # b", "ümläut 'quoted'"]


@pytest.mark.parametrize("name", NAMES)
def test_a_storage_of_any_name_holds_its_database_and_its_artifacts(tmp_path, name):
    storage = tmp_path / name
    storage.mkdir()
    run = logged(storage, "a", "first")
    assert (storage / "mlflow.db").is_file()
    (artifact,) = (storage / "mlartifacts").rglob("first.txt")
    assert artifact.read_text() == "first"
    assert artifacts(storage, run) == {"first.txt": "first"}
    assert [path.name for path in tmp_path.iterdir()] == [name]  # and no folder of another spelling


@pytest.mark.parametrize(("before", "now"), [("plain", "a%20b"), ("a%20b", "what?"), ("what?", "plain")])
def test_a_moved_storage_is_used_where_it_is(tmp_path, before, now, capsys):
    before, now = tmp_path / before, tmp_path / now
    before.mkdir()
    run = logged(before, "a", "first")
    shutil.move(before, now)
    logged(now, "a", "second", resume=run.run_id)
    other = logged(now, "b", "third")
    said = f"the storage was moved from {before}: MLflow's paths lead to {now}/mlartifacts now"
    assert said in capsys.readouterr().err
    assert not before.exists()
    assert artifacts(now, run) == {"first.txt": "first", "second.txt": "second"}
    assert artifacts(now, other) == {"third.txt": "third"}
    capsys.readouterr()
    follow_storage(address_of(now / "mlflow.db"))
    assert capsys.readouterr().err == ""


def test_a_copy_writes_nothing_into_the_original(tmp_path):
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    run = logged(original, "a", "first")
    shutil.copytree(original, copy)
    before = contents(original)
    logged(copy, "a", "second", resume=run.run_id)
    logged(copy, "b", "third")
    assert contents(original) == before
    assert artifacts(copy, run) == {"first.txt": "first", "second.txt": "second"}


def test_a_database_that_several_storages_share_is_left_as_it_is(tmp_path):
    here, other = tmp_path / "here", tmp_path / "other"
    for folder in (here / "mlartifacts", other):
        folder.mkdir(parents=True)
    uri = address_of(here / "mlflow.db")
    with tracked_run(uri, "elsewhere", "a", artifacts=f"{other}/mlartifacts") as run:
        run.log_text("a.txt", "a")
    before = (here / "mlflow.db").read_bytes()
    follow_storage(uri)
    assert (here / "mlflow.db").read_bytes() == before
    assert artifacts(here, run) == {"a.txt": "a"}


def test_what_is_no_mlflow_database_of_a_storage_is_left_alone(tmp_path):
    (tmp_path / "mlartifacts").mkdir()
    for uri in ("http://127.0.0.1:9", "postgresql://x/y", address_of(tmp_path / "mlflow.db")):
        follow_storage(uri)
    assert not (tmp_path / "mlflow.db").exists()
    sqlite3.connect(tmp_path / "mlflow.db").close()
    follow_storage(address_of(tmp_path / "mlflow.db"))
