"""The shared folder is full, or one machine sees it read-only, empty, or without the videos."""

import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import INGEST, resume, train
from tests.cluster.jobs import Job
from tests.cluster.ray_cluster import Cluster
from tests.cluster.results import History, shards_of, statuses, trained_of

pytestmark = pytest.mark.cluster
NODE = "w2"


def error_of(job: Job) -> str:
    """The one line of error with which a job has ended."""
    assert job.end(180) != 0, job.text
    job.assert_calm()
    (line,) = [line for line in job.said if line.startswith("error: ")] or [job.text]
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


def named(nodes: Cluster) -> str:
    """A pattern of the words by which a message names the machine."""
    return rf"{NODE} \({re.escape(nodes.workers[NODE].address)}, node id \w+\)"


def goes_on(nodes: Cluster, command: tuple[str, ...], shards: dict[str, str]) -> None:
    """The same command ends with the bytes of a whole cluster; what was finished before is not done again."""
    again = nodes.submit(*command)
    assert again.end() == 0, again.text
    assert shards_of(nodes.path(command[-1])) == shards


def test_a_machine_that_may_not_write_ends_the_ingest_and_the_same_command_goes_on(nodes: Cluster, shards):
    command = (*INGEST, "--ingest.shards", "/mnt/shards/read-only")
    how = ("mount", "-o", "remount,bind,{}", "/mnt")
    with mounted(nodes, *(tuple(word.format(mode) for word in how) for mode in ("ro", "rw"))):
        line = error_of(nodes.submit(*command))
    says = (
        rf"^error: /mnt/shards/read-only: .*Read-only file system, on the node {named(nodes)}; what is finished stays"
    )
    assert re.search(says, line), line
    goes_on(nodes, command, shards)


def test_a_machine_that_does_not_see_the_videos_is_named_and_no_clip_is_lost(nodes: Cluster, shards):
    command = (*INGEST, "--ingest.shards", "/mnt/shards/no-videos")
    with hidden(nodes, "/mnt/videos"):
        line = error_of(nodes.submit(*command))
    assert re.search(rf"is there, but not on the node {named(nodes)}; mount its folder there", line), line
    goes_on(nodes, command, shards)


def test_a_machine_whose_share_is_not_mounted_loses_no_clip(nodes: Cluster, shards):
    """It writes its shards to its own disk, where nobody else sees them."""
    command = (*INGEST, "--ingest.shards", "/mnt/shards/not-mounted")
    with hidden(nodes, "/mnt/shards"):
        line = error_of(nodes.submit(*command))
    assert re.search(r"\d+ of \d+ files that workers have finished are not there; give a folder that all", line), line
    goes_on(nodes, command, shards)


def test_a_full_disk_ends_a_training_which_goes_on_when_there_is_room(nodes: Cluster, trained: History):
    filler = nodes.path("/mnt/filler")
    job = train(nodes, "full")
    try:
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        line = error_of(job)
        says = r"^error: rgb: no space left on the disk of /mnt/out/runs/full.*; make some, then --resume full cont"
        assert re.search(says, line), line
        assert statuses(nodes, "full") == {"all": "FAILED", "rgb": "FAILED"}
    finally:
        filler.unlink()
    resume(nodes, "full")
    after = trained_of(nodes, "full")
    assert after.restarts == 1, job.text  # it has not begun anew
    after.assert_same(trained)
