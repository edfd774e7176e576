"""What the fault tests share: a training under an MLflow run of its own store, and callbacks that kill."""

import contextlib
import os
import signal
from pathlib import Path

from ray.train import UserCallback

from pipeline.config import Config
from pipeline.tracking.runs import Run, tracked_run
from pipeline.training.trainer import Trained, train_stream


def fit(
    config: Config,
    runs: Path,
    callbacks: tuple[UserCallback, ...] = (),
    resume: str | None = None,
    folder: Path | None = None,
) -> tuple[Trained, Run]:
    """Train flow, with MLflow and (unless there is a folder for them) checkpoints in `runs`."""
    with tracked_run(f"sqlite:///{runs}/mlflow.db", "test", "run", resume=resume) as run:
        return train_stream(config, "flow", run, str(folder or runs), callbacks), run


class KillAfter(UserCallback):
    """kill -9 after so many reports, once: of a process, or of the last training worker of this Ray session."""

    def __init__(self, reports: int, pid: int | None = None) -> None:
        self.reports, self.pid = reports, pid

    def after_report(self, run_context, metrics, checkpoint):
        self.reports -= 1
        if self.reports == 0:
            os.kill(self.pid or training_workers()[-1], signal.SIGKILL)


def training_workers() -> list[int]:
    """Of the training that this controller runs: they are children of the same raylet."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # a process may end while we look
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getppid() and b"RayTrainWorker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return sorted(found)
