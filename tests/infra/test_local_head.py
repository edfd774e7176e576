"""A head on this machine is this user's alone: what it listens on, and whom it answers."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUBMIT = ROOT / "infra" / "local" / "submit.sh"
LOCAL_CLUSTER = """
import os, sys, time
from pipeline.cluster import join
join("local")
import ray
ray.get(ray.remote(lambda: 1).remote())
print("dashboard", ray._private.worker._global_node.webui_url, ray.get_runtime_context().gcs_address, flush=True)
time.sleep(600)
"""


def below(pid: int) -> set[int]:
    """A process and all that it has started."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), set()).add(int(stat.parent.name))
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for parent in new for child in children.get(parent, ())} - found
    return found


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses and ports on which a process and all that it has started wait for TCP connections."""
    inodes = set()
    for one in below(pid):
        with contextlib.suppress(OSError):  # it may have ended
            for link in Path(f"/proc/{one}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # it may be closed
                    inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                words = bytes.fromhex(address)
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.add((socket.inet_ntop(family, packed).removeprefix("::ffff:"), int(port, 16)))
    return found


def outward() -> str:
    """An address of this machine that is not loopback."""
    if shutil.which("ip") is None:
        pytest.skip("no iproute2, to find an address of this machine")
    shown = json.loads(subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, check=True).stdout)
    found = [each["local"] for one in shown for each in one["addr_info"] if not each["local"].startswith("127.")]
    return found[0] if found else pytest.skip("this machine has no address but loopback")


def answer(address: str, path: str = "/api/jobs/", method: str = "POST", **headers: str) -> int:
    """The status that a request to run a job gets; 0 if no web server answers."""
    job = json.dumps({"entrypoint": "touch /tmp/never"}).encode()
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, job, {"Content-Type": "application/json", **headers})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):  # no listener, or one of gRPC
        return 0
    finally:
        connection.close()


def refuses_strangers(pid: int, dashboard: str) -> None:
    """Check every socket, and ask each of them for a job from another address and from this one."""
    deadline = time.monotonic() + 60
    sockets = listening(pid)
    while time.monotonic() < deadline and answer(dashboard) == 0:
        time.sleep(0.5)
    sockets = listening(pid)
    assert len(sockets) >= 4, sockets  # the store, the raylet, the dashboard and an agent at least
    assert {address for address, _ in sockets} <= {"127.0.0.1", "::1"}, sockets
    assert answer(dashboard) == 401
    assert answer(dashboard, Authorization="Bearer guess") == 403
    elsewhere = outward()
    for _, port in sockets:
        assert answer(f"127.0.0.1:{port}", "/api/job_agent/jobs/") in (0, 401, 404, 405), port
        assert answer(f"{elsewhere}:{port}", "/api/job_agent/jobs/") == 0, port


def says_that_the_token_is_refused(address: str, environment: dict[str, str]) -> None:
    """Run a job that does not know the token of the cluster, and read its last line."""
    job = [sys.executable, "jobs/benchmark.py", "sets", environment["HOME"]]
    environment = {**environment, "RAY_ADDRESS": address}
    done = subprocess.run(job, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 2
    assert f"the Ray cluster at RAY_ADDRESS {address} refuses the token" in done.stderr, done.stderr


def end(process: subprocess.Popen, how: int) -> None:
    process.send_signal(how)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_head_of_the_demo_answers_nobody_else(tmp_path):
    script = "print('it runs', flush=True); import time; time.sleep(600)"
    command = [str(SUBMIT), sys.executable, "-c", script]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "old"}
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        try:
            deadline = time.monotonic() + 150
            while "it runs" not in (text := (tmp_path / "said").read_text()) and time.monotonic() < deadline:
                assert process.poll() is None, text
                time.sleep(0.5)
            assert "it runs" in text  # lines of the job come as they are written, into a file too
            announced = re.search(r"dashboard on http://(\S+) while it runs, with the token in (\S+)", text)
            assert announced, text
            token = Path(announced[2])
            assert (token.stat().st_mode & 0o777, token.parent.stat().st_mode & 0o777) == (0o600, 0o700)
            refuses_strangers(process.pid, announced[1])
            assert answer(announced[1], method="GET", Authorization=f"Bearer {token.read_text().strip()}") == 200
        finally:
            end(process, signal.SIGTERM)
    assert not token.exists()


@pytest.mark.slow
def test_a_cluster_that_a_job_starts_answers_nobody_else(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", LOCAL_CLUSTER]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = next((line for line in process.stdout if line.startswith("dashboard")), "")
            assert line
            refuses_strangers(process.pid, line.split()[1])
            assert not (tmp_path / ".ray").exists()  # no token that outlives it
            says_that_the_token_is_refused(line.split()[2], environment)
        finally:
            end(process, signal.SIGTERM)
