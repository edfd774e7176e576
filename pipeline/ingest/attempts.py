"""Counting of attempts, so that a clip that kills its workers becomes a failed row instead of being tried for ever.

Ray repeats a task whose worker was killed, most often for lack of memory. A mark is written before the work on a clip
begins and removed when the clip is stored. So a mark that is found at the beginning means that a worker was killed at
this very clip, and the other clips of its task are not blamed. Marks are empty files in the staging folder:

    DIGEST-RUN.1    the first attempt at a clip of this source, in this run of ingest
    DIGEST-RUN.2    the second

A new run counts anew, because whoever ends a whole run ends it at innocent clips. Marks disappear with the folder.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from pipeline.ingest.clip_errors import WorkerKilled
from pipeline.storage import exists, remove, touch

ATTEMPTS = 2
"""Number of workers that may be killed at one clip before the clip counts as failed."""

Row = dict[str, Any]


def make_counted(
    work: Callable[[Row], Row], store: Callable[[Row], Row], staging: str, run: str
) -> Callable[[Row], Row]:
    """Return the function that works on a clip and stores it, unless `ATTEMPTS` workers were killed at the clip.

    Args:
        work: the stage that may kill its worker.
        store: the stage that writes the row.
        staging: staging folder of the set, which exists.
        run: name of this run of ingest.
    """

    def counted(row: Row) -> Row:
        if row["status"] == "failed":
            return store(row)
        digest = hashlib.sha256(f"{row['clip_id']}\n{row['source']}\n{row.get('rank')}".encode()).hexdigest()[:32]
        begun = [f"{staging}/{digest}-{run}.{number}" for number in range(1, ATTEMPTS + 1)]
        attempts = next((n for n, mark in enumerate(begun) if not exists(mark)), ATTEMPTS)
        if attempts == ATTEMPTS:
            error = WorkerKilled(
                f"{ATTEMPTS} workers were killed at this clip, most often for lack of memory; raise "
                "resources.ingest_cpus, so that fewer clips are done at a time, and try it with --retry WorkerKilled"
            )
            done = store({**row, "status": "failed", "error_class": "WorkerKilled", "error_message": str(error)})
        else:
            touch(begun[attempts])
            done = store(work(row))
        for mark in begun[: attempts + 1]:
            remove(mark)
        return done

    return counted
