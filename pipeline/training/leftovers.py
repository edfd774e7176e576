"""What a crash or a full disk leaves in a training's folder, put right before Ray Train looks at it.

Ray Train records the checkpoints that count in a snapshot, which it writes in place: a crash or a full disk at that
moment leaves half of it, and no checkpoint could be found again. So a copy follows each that was written whole.
"""

import contextlib
import json

from ray.train import UserCallback

from pipeline.shards.store import exists, list_entries, read_json, remove, write_json

SNAPSHOT, COPY = "checkpoint_manager_snapshot.json", "checkpoint_manager_snapshot.copy.json"


class KeepCopy(UserCallback):
    """Copies the snapshot after every report; Ray Train has written it by then."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def after_report(self, run_context: object, metrics: object, checkpoint: object) -> None:  # noqa: ARG002
        """See the class."""
        if snapshot := _read(f"{self.folder}/{SNAPSHOT}"):  # a full disk may have cut it off
            with contextlib.suppress(OSError):  # then the older copy stays
                write_json(f"{self.folder}/{COPY}", snapshot)


def tidy(folder: str) -> None:
    """Restore a snapshot that was cut off, and delete checkpoints that count for nothing: uploads that broke off.

    Args:
        folder: of one stream's training, which nothing else is writing to.
    """
    if not exists(folder):
        return
    if exists(f"{folder}/{SNAPSHOT}") and _read(f"{folder}/{SNAPSHOT}") is None:
        if (copy := _read(f"{folder}/{COPY}")) is None:
            remove(f"{folder}/{SNAPSHOT}")  # of the first checkpoint: training starts anew, nothing is deleted
            return
        write_json(f"{folder}/{SNAPSHOT}", copy)
    snapshot = _read(f"{folder}/{SNAPSHOT}") or {}
    counting = [*snapshot.get("checkpoint_results", []), snapshot.get("latest_checkpoint_result")]
    names = {one["checkpoint_dir_name"] for one in counting if one}
    for entry in list_entries(folder):
        if entry.startswith("checkpoint_") and not entry.endswith(".json") and entry not in names:
            remove(f"{folder}/{entry}")


def kept(folder: str) -> str:
    """What a run that goes on would begin with, in words.

    Args:
        folder: of the run, with a folder for each network.
    """
    found = []
    for name in list_entries(folder):
        latest = (_read(f"{folder}/{name}/{SNAPSHOT}") or {}).get("latest_checkpoint_result")
        metrics = (latest or {}).get("metrics", {})
        if "step" in metrics:
            found.append(f"{name}'s checkpoint of step {metrics['step']}, {metrics['epoch']} epochs done")
    return "; ".join(found) or "no checkpoint yet"


def _read(path: str) -> dict | None:
    """A JSON object; None where there is none, or only a part of one."""
    try:
        return read_json(path)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return None
