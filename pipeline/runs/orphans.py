"""Runs whose process was killed, so that nobody could end them: the next training, test or sweep ends them as FAILED.

A training and a sweep hold the lock of their folder as long as they run. So a run that MLflow calls RUNNING, and whose
lock is free, has lost its process: to kill -9, to the end of its machine, or to Ray, which ended it for memory.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities import RunStatus

from pipeline.config import ConfigError
from pipeline.runs.run_lock import locked
from pipeline.runs.run_name import is_plain
from pipeline.storage import exists, read_json
from pipeline.tracking.runs import Run, running_runs

REASON = "its process ended without a word: killed, or its machine or memory was gone"
_FOLDERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str | None], str]] = {
    "runs": ("run.json", lambda values: values["runs"].get("all"), "--resume {} continues it"),
    "experiments": ("experiment.json", lambda values: values["run"], "the same command continues it"),
}
"""For each folder of the storage: the file that holds the id of the MLflow run, this id, and how the run continues."""


def end_orphans(storage: str, uri: str, mine: str = "") -> None:
    """End the runs of a storage whose process is gone, as FAILED and their child runs as KILLED, and say so.

    Args:
        storage: folder of runs and experiments; on an object store, which has no locks, nothing is done.
        uri: tracking URI.
        mine: name of the run that this process is about to start or to resume, which is left as it is.
    """
    if "://" in storage or not any(exists(f"{storage}/{kind}") for kind in _FOLDERS):
        return
    for run, name in running_runs(uri):
        for kind, (file, id_in, continues) in _FOLDERS.items():
            folder = f"{storage}/{kind}/{name}"
            if name == mine or not is_plain(name) or not exists(f"{folder}/{file}"):
                continue
            if id_in(read_json(f"{folder}/{file}")) == run.run_id and _ended(folder, run):
                print(f"run {name} is FAILED now: {REASON}; {continues.format(name)}", flush=True)


def _ended(folder: str, run: Run) -> bool:
    """End a run under its lock; return False if another process has the lock."""
    try:
        with locked(folder, ""):
            run.kill_children()
            run.set_tags({"last_failure": REASON})
            run.end(RunStatus.FAILED)
    except (ConfigError, OSError):  # it is running, or this disk has no locks
        return False
    return True
