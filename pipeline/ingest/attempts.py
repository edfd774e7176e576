"""Counting of attempts, so that a clip that kills its workers becomes a failed row instead of being tried for ever.

Ray repeats a task whose worker was killed, most often for lack of memory. A worker tells the ledger of the run
(`pipeline.ingest.ledger`) before it begins a clip and after the clip is stored. So a clip that was begun and did not
end is one at which a worker was killed, and the other clips of its task are not blamed. A new run counts anew, because
whoever ends a whole run ends it at innocent clips.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from pipeline.ingest.clip_errors import WorkerKilled
from pipeline.ingest.within import heard

ATTEMPTS = 2
"""Number of workers that may be killed at one clip before the clip counts as failed."""

Row = dict[str, Any]


class Attempts(Protocol):
    """The part of a `pipeline.ingest.ledger.Reporter` that counts attempts."""

    def begin(self, clip: str) -> int:
        """Return the number of workers that have been killed at a clip, which begins now."""

    def within(self, clip: str, name: str, seconds: float) -> None:
        """Note how many seconds of a long clip are done."""

    def end(self, clip: str, status: Row) -> None:
        """Note the status row of a clip that ended."""


def counted(row: Row, work: Callable[[Row], Row], store: Callable[[Row], Row], attempts: Attempts) -> Row:
    """Work on a clip and store it, unless `ATTEMPTS` workers were killed at the clip; return its status row.

    Args:
        row: the clip.
        work: the stage that may kill its worker.
        store: the stage that writes the row.
        attempts: what counts the attempts of this run.
    """
    clip = hashlib.sha256(f"{row['clip_id']}\n{row['source']}\n{row.get('rank')}".encode()).hexdigest()[:32]
    if row["status"] == "failed":
        status = store(row)
    elif attempts.begin(clip) < ATTEMPTS:
        with heard(lambda seconds: attempts.within(clip, row["clip_id"], seconds)):
            status = store(work(row))
    else:
        error = WorkerKilled(
            f"{ATTEMPTS} workers were killed at this clip, most often for lack of memory; raise "
            "resources.ingest_cpus, so that fewer clips are done at a time, and try it with --retry WorkerKilled"
        )
        status = store({**row, "status": "failed", "error_class": "WorkerKilled", "error_message": str(error)})
    attempts.end(clip, status)
    return status
