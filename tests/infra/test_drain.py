"""The script by which a pod announces its end: whom it tells, and how long it waits."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from .manifests import KUBERAY

DRAIN = KUBERAY / "base" / "drain.sh"
NODE = "00" * 28


@pytest.fixture
def ray_command(tmp_path: Path) -> Path:
    """A program `ray` that notes how it was called."""
    program = tmp_path / "ray"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    program.chmod(0o755)
    return tmp_path / "called"


def alone(ray_command: Path, *words: str, running: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script in a namespace of processes of its own, as in a pod, beside another process of a given title."""
    beside = f"(exec -a '{running}' bash -c 'sleep 60; :' x --node_id=x) & sleep 0.2; " if running else ""
    own = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a namespace of processes")
    return subprocess.run(
        [*own, "bash", "-c", f"{beside}{DRAIN} {' '.join(words)}"],
        env={**os.environ, "PATH": f"{ray_command.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own imports
def test_ray_understands_the_command(ray_command):
    from ray.scripts.scripts import cli

    assert alone(ray_command, "5", NODE).returncode == 0
    verb, *arguments = ray_command.read_text().replace("its pod ends", "ends").split()
    told = cli.commands[verb].make_context(verb, arguments).params
    assert (told["node_id"], told["reason"]) == (NODE, "DRAIN_NODE_REASON_PREEMPTION")
    assert told["deadline_remaining_seconds"] == 5


def test_a_pod_without_work_ends_at_once_and_one_with_work_when_the_notice_is_over(ray_command):
    begin = time.monotonic()
    assert alone(ray_command, "20", NODE, running="ray::IDLE").returncode == 0
    assert time.monotonic() - begin < 10
    begin = time.monotonic()
    assert alone(ray_command, "2", NODE, running="ray::RayTrainWorker").returncode == 0
    assert time.monotonic() - begin >= 1


def test_the_node_is_that_of_the_raylet_in_the_pod_and_without_one_it_says_so(ray_command):
    done = alone(ray_command, "1")
    assert done.returncode == 1
    assert "no raylet runs here" in done.stderr
    assert alone(ray_command, "1", running="raylet").returncode == 0
    assert "--node-id x " in ray_command.read_text()


def test_the_script_uses_what_a_slim_image_has():
    """No ps, pgrep or curl."""
    words = {word for line in DRAIN.read_text().splitlines() if not line.startswith("#") for word in line.split()}
    assert not words & {"ps", "pgrep", "curl", "jq"}
