"""The shared folder is full, or one machine sees it read-only, empty, or without the videos."""

import contextlib
import re
import time
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import INGEST, resume, train
from tests.cluster.jobs import Job
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, shards_of, statuses, trained_of

pytestmark = pytest.mark.cluster
NODE = "w2"


def error_of(job: Job) -> str:
    """The line of error with which a job has ended; all that it has said if there is no such line, or another."""
    code, lines = job.end(180), [line for line in job.said if line.startswith("error: ")]
    return lines[0] if code != 0 and len(lines) == 1 else job.text


@contextlib.contextmanager
def mounted(nodes: Cluster, mount: tuple[str, ...], back: tuple[str, ...]) -> Iterator[None]:
    """Change what the machine sees, and change it back at the end."""
    nodes.workers[NODE].mount(*mount)
    try:
        yield
    finally:
        nodes.workers[NODE].mount(*back)


def hidden(nodes: Cluster, folder: str) -> contextlib.AbstractContextManager[None]:
    """Show the machine an empty folder in its place, as where a share is not mounted."""
    return mounted(nodes, ("mount", "-t", "tmpfs", "tmpfs", folder), ("umount", "--lazy", folder))


def named(nodes: Cluster) -> str:
    """A pattern of the words by which a message names the machine."""
    return rf"{NODE} \({re.escape(nodes.workers[NODE].address)}, node id \w+\)"


def test_an_ingest_ends_in_a_line_for_each_of_three_faults_and_the_same_command_goes_on(nodes: Cluster, shards):
    """The machine may not write, does not see the videos, and writes its shards to its own disk."""
    command = (*INGEST, "--ingest.shards", "/mnt/shards/faults")
    how = ("mount", "-o", "remount,bind,{}", "/mnt")
    read_only = mounted(nodes, *(tuple(word.format(mode) for word in how) for mode in ("ro", "rw")))
    faults = {
        rf"^error: /mnt/shards/faults: .*Read-only file system, on the node {named(nodes)}; what is fini": read_only,
        rf"^error: .* is there, but not on the node {named(nodes)}; mount its folder": hidden(nodes, "/mnt/videos"),
        r"^error: .*: \d+ .* that workers have (finished|written) are not there; give": hidden(nodes, "/mnt/shards"),
    }
    jobs = {}
    for line, fault in faults.items():
        with fault:
            jobs[line] = nodes.submit(*command)
            jobs[line].end(180)
    again = nodes.submit(*command)
    assert again.end() == 0, again.text
    for line, job in jobs.items():
        assert re.search(line, error_of(job)), error_of(job)
        job.assert_calm()
    assert shards_of(nodes.path("/mnt/shards/faults")) == shards


def test_a_full_disk_ends_a_training_which_goes_on_when_there_is_room(nodes: Cluster, trained: History):
    filler = nodes.path("/mnt/filler")
    job = train(nodes, "full")
    try:
        with filler.open("wb", buffering=0) as file:
            while not job.ended():  # the training removes old checkpoints
                with contextlib.suppress(OSError):
                    file.write(bytes(1 << 20))
                    continue
                time.sleep(0.1)
        line = error_of(job)
        says = r"^error: rgb: no space left on the disk of /mnt/out/runs/full.*; make some, then --resume full cont"
        assert re.search(says, line), line
        job.assert_calm()
        assert statuses(nodes, "full") == {"all": "FAILED", "rgb": "FAILED"}
    finally:
        filler.unlink()
    resume(nodes, "full")
    after = trained_of(nodes, "full")
    assert after.restarts == 1, job.text  # it has not begun anew
    after.assert_same(trained)
