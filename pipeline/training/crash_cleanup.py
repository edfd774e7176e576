"""Repair of a training's folder after a crash or a full disk, before Ray Train reads the folder.

Ray Train lists the valid checkpoints in a snapshot file, which it overwrites in place. A crash or a full disk during
the write leaves an incomplete file, and Ray Train would then find no checkpoint. Therefore each complete snapshot is
copied.
"""

import contextlib
import json

from ray.train import UserCallback

from pipeline.storage import exists, list_entries, read_json, remove, write_json

SNAPSHOT, COPY = "checkpoint_manager_snapshot.json", "checkpoint_manager_snapshot.copy.json"


class KeepCopy(UserCallback):
    """A callback that copies the snapshot after every report, when Ray Train has written it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def after_report(self, run_context: object, metrics: object, checkpoint: object) -> None:  # noqa: ARG002
        """See the class."""
        if snapshot := _read(f"{self.folder}/{SNAPSHOT}"):  # None if a full disk cut it off
            with contextlib.suppress(OSError):  # the older copy stays
                write_json(f"{self.folder}/{COPY}", snapshot)


def tidy(folder: str) -> None:
    """Restore an incomplete snapshot from its copy, and delete interrupted uploads: checkpoints that it does not list.

    Args:
        folder: the folder of one stream's training; no other process may be writing to it.
    """
    if not exists(folder):
        return
    if exists(f"{folder}/{SNAPSHOT}") and _read(f"{folder}/{SNAPSHOT}") is None:
        if (copy := _read(f"{folder}/{COPY}")) is None:
            remove(f"{folder}/{SNAPSHOT}")  # it was the first: training starts anew, no checkpoint is deleted
            return
        write_json(f"{folder}/{SNAPSHOT}", copy)
    snapshot = _read(f"{folder}/{SNAPSHOT}") or {}
    counting = [*snapshot.get("checkpoint_results", []), snapshot.get("latest_checkpoint_result")]
    names = {one["checkpoint_dir_name"] for one in counting if one}
    for entry in list_entries(folder):
        if entry.startswith("checkpoint_") and not entry.endswith(".json") and entry not in names:
            remove(f"{folder}/{entry}")


def kept(folder: str) -> str:
    """Describe the checkpoints from which a run would resume.

    Args:
        folder: the folder of the run, which has a subfolder for each network.
    """
    found = []
    for name in list_entries(folder):
        latest = (_read(f"{folder}/{name}/{SNAPSHOT}") or {}).get("latest_checkpoint_result")
        metrics = (latest or {}).get("metrics", {})
        if "step" in metrics:
            found.append(f"{name}'s checkpoint of step {metrics['step']}, {metrics['epoch']} epochs done")
    return "; ".join(found) or "no checkpoint yet"


def _read(path: str) -> dict | None:
    """Read a JSON object; return None if the file is missing or incomplete."""
    try:
        return read_json(path)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return None
