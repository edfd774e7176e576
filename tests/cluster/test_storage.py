"""The shared folder is full, or one machine sees it read-only, empty, or without the videos."""

import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import INGEST, TRAIN
from tests.cluster.jobs import Job
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, shards_of, statuses, trained_of

pytestmark = pytest.mark.cluster
NODE = "w2"


def error_of(job: Job) -> str:
    """The one line of error with which a job has ended."""
    assert job.end(180) != 0, job.text
    job.assert_calm()
    (line,) = [line for line in job.said if line.startswith("error: ")]
    return line


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


def test_a_machine_that_may_not_write_ends_the_ingest_and_the_same_command_goes_on(nodes: Cluster, shards):
    command = (*INGEST, "--ingest.shards", "/mnt/shards/read-only")
    remount = ("mount", "-o", "remount,bind,{}", "/mnt")
    with mounted(nodes, *(tuple(word.format(how) for word in remount) for how in ("ro", "rw"))):
        line = error_of(nodes.submit(*command))
    assert re.search(r"/mnt/shards/read-only: Read-only file system.*; what is finished stays", line)
    again = nodes.submit(*command)
    assert again.end() == 0, again.text
    assert shards_of(nodes.path("/mnt/shards/read-only")) == shards


def test_a_machine_that_does_not_see_the_videos_is_named_and_no_clip_is_lost(nodes: Cluster, shards):
    command = (*INGEST, "--ingest.shards", "/mnt/shards/no-videos")
    with hidden(nodes, "/mnt/videos"):
        line = error_of(nodes.submit(*command))
    assert re.search(rf"{NODE} \({nodes.workers[NODE].address}, node id \w+\)", line)
    again = nodes.submit(*command)
    assert again.end() == 0, again.text
    assert shards_of(nodes.path("/mnt/shards/no-videos")) == shards


def test_a_machine_whose_share_is_not_mounted_loses_no_clip(nodes: Cluster, shards):
    """It writes its shards to its own disk, where nobody else sees them."""
    command = (*INGEST, "--ingest.shards", "/mnt/shards/not-mounted")
    with hidden(nodes, "/mnt/shards"):
        line = error_of(nodes.submit(*command))
    assert "give a folder that all nodes share" in line
    again = nodes.submit(*command)
    assert again.end() == 0, again.text
    assert shards_of(nodes.path("/mnt/shards/not-mounted")) == shards


def test_a_full_disk_ends_a_training_which_goes_on_when_there_is_room(nodes: Cluster, trained: History):
    filler = nodes.path("/mnt/filler")
    job = nodes.submit(*TRAIN, "--name", "full")
    job.wait_for("rgb epoch 1/4: train")
    try:
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        line = error_of(job)
        assert re.search("rgb: no space left on the disk of /mnt/out/runs/full.*--resume full continues it", line)
        assert statuses(nodes, "full")["rgb"] == "FAILED"
    finally:
        filler.unlink()
    again = nodes.submit(TRAIN[0], "--resume", "full", "--storage", "/mnt/out")
    assert again.end() == 0, again.text
    trained_of(nodes, "full").assert_same(trained)
