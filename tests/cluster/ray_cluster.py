"""A Ray cluster of several machines, as `infra/machines/` sets it up: a head without CPUs, workers, a token, MLflow."""

import functools
import json
import secrets
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.jobs import GOES_ON, Job
from tests.cluster.machines import SHARE, Lan, Machine, NoMachinesError

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DASHBOARD, AGENT, GCS, MLFLOW, REDIS = 8265, 52365, 6379, 5000, 6379  # ports
OBJECT_STORE = 200 << 20  # bytes of each machine
OWN_NAMES = {"w1": "", "w2": "127.0.1.1", "w3": None}
"""To what each worker's own name resolves: its address as on Kubernetes, Debian's 127.0.1.1, nothing."""
MEMORY_BYTES = {"head": 8 << 30, "w2": 6 << 30}
"""The memory of those machines that a scenario fills."""
MEMORY_SHARE = 0.8  # of it may be in use before Ray ends what it has started
ENDS_S = 60.0  # longest time in seconds that the job of an interrupted scenario takes to stop


class Cluster:
    """A head, three workers with a CPU each, machines for MLflow and Redis, and one for the user.

    Attributes:
        head: the machine of the head.
        workers: the machines of the workers by name.
        mlflow: the machine of the MLflow server.
        user: the machine from which jobs are submitted.
    """

    def __init__(self, folder: Path) -> None:
        """Start the cluster, without Redis.

        Args:
            folder: where the machines' disks are.

        Raises:
            NoMachinesError: machines cannot be made here.
        """
        if any(path.is_relative_to("/tmp") for path in (CHECKOUT, BIN.resolve())):  # noqa: S108
            raise NoMachinesError("each machine has a /tmp of its own, which would hide this checkout or its .venv")
        self._token = secrets.token_hex(32)
        self._of_head: dict[str, str] = {}
        self._jobs: dict[str, Job] = {}
        self._lan = Lan(folder)
        try:
            self.head = self.machine("head", 1)
            self.workers = {name: self.machine(name, 11 + n, own) for n, (name, own) in enumerate(OWN_NAMES.items())}
            self.mlflow, self._redis = self.machine("mlflow", 50), self.machine("redis", 51)
            self.user = self.machine("user", 100)
            self._start_mlflow()
            self._start_all()
            self._wait_for_mlflow()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all of it."""
        self._lan.close()

    @property
    def tracking(self) -> str:
        """The address of MLflow."""
        return f"http://{self.mlflow.address}:{MLFLOW}"

    def path(self, on_a_machine: str) -> Path:
        """Where a path of the shared folder is outside of the machines."""
        return self._lan.share / Path(on_a_machine).relative_to(SHARE)

    def submit(self, *words: str, token: bool = True) -> Job:
        """Submit a job from the user's machine: `ray job submit --working-dir . -- python WORDS`."""
        environment = self._environment() | {"RAY_API_SERVER_ADDRESS": f"http://{self.head.address}:{DASHBOARD}"}
        if not token:
            environment = {name: value for name, value in environment.items() if not name.startswith("RAY_AUTH")}
        name = f"job-{secrets.token_hex(4)}"
        command = [f"{BIN}/ray", "job", "submit", "--submission-id", name, "--working-dir", str(CHECKOUT)]
        command = self.user.command([*command, "--", "python", *words], environment)
        self._jobs[name] = Job(command, CHECKOUT, lambda: self._status(name))
        return self._jobs[name]

    def _status(self, name: str) -> str | None:
        return (self._ask(f"jobs/{name}") or {}).get("status")

    def run(self, machine: Machine, *words: str, address: str = "") -> Job:
        """Run a job in the shell of a machine: in the cluster at an address, or else with a Ray of its own."""
        environment = self._environment() | ({"RAY_ADDRESS": address} if address else {})
        command = machine.command(["env", f"--chdir={CHECKOUT}", f"{BIN}/python", *words], environment)
        self._jobs[f"shell-{secrets.token_hex(4)}"] = job = Job(command, CHECKOUT)
        return job

    def machine(self, name: str, number: int, own_address: str | None = "") -> Machine:
        """Add a machine that knows the token; see `Lan.machine`."""
        one = self._lan.machine(name, number, own_address, MEMORY_BYTES.get(name))
        (one.folder / "tmp/token").write_text(self._token)
        (one.folder / "tmp/token").chmod(0o600)
        return one

    def start_ray(self, machine: Machine, words: Sequence[str], more: Mapping[str, str] = {}) -> None:
        """Start Ray on a machine, with further words of `ray start` and further variables."""
        common = [f"--node-ip-address={machine.address}", f"--object-store-memory={OBJECT_STORE}", "--block"]
        common += ["--disable-usage-stats", f"--dashboard-agent-listen-port={AGENT}"]
        full = {"RAY_memory_usage_threshold": str(MEMORY_SHARE)} if machine.memory_bytes else {}
        machine.start([f"{BIN}/ray", "start", *words, *common], {**self._environment(), **full, **more})

    def start_head(self) -> None:
        """Start the head, or start it again after it was killed."""
        words = ["--head", f"--port={GCS}", "--dashboard-host=0.0.0.0", f"--dashboard-port={DASHBOARD}", "--num-cpus=0"]
        self.start_ray(self.head, words, self._of_head)
        self.wait(lambda: self.alive() is not None and answers(self.head.address, AGENT), "head", self.head)

    def start_worker(self, worker: Machine) -> None:
        """Start a worker, or start it again after it was killed."""
        self.start_ray(worker, [f"--address={self.head.address}:{GCS}", "--num-cpus=1"])

    def wait_for_workers(self) -> None:
        """Wait until the head and all workers are there; it may call one alive for a while that was killed."""
        workers = self.workers.values()

        def there() -> bool:
            return all(answers(one.address, AGENT) for one in workers) and len(self.alive() or ()) == 1 + len(workers)

        self.wait(there, "workers", *workers)

    def mend(self) -> None:
        """End what a scenario has left running, and bring back what it has broken; quick where there is nothing."""
        for name, job in self._jobs.items():
            job.leave()
            if self._status(name) in GOES_ON:
                self._ask(f"jobs/{name}/stop", method="POST")
                self.wait(lambda name=name: self._status(name) not in GOES_ON, f"end of {name}", seconds=ENDS_S)
        self._jobs.clear()
        for machine in self._lan.machines.values():
            machine.mend()
        if not self.mlflow.runs:
            self.start_mlflow()
        try:
            if not self.head.runs:
                self.start_head()
            for worker in self.workers.values():
                if not worker.runs:
                    self.start_worker(worker)
            self.wait_for_workers()
        except AssertionError:
            self._restart_all()

    def start_mlflow(self) -> None:
        """Start the MLflow server again after it was killed."""
        self._start_mlflow()
        self._wait_for_mlflow()

    def _start_mlflow(self) -> None:
        place = ["--backend-store-uri=sqlite:////tmp/mlflow.db", "--artifacts-destination=/tmp/artifacts"]
        names = f"--allowed-hosts={self.mlflow.address}:{MLFLOW}"
        words = [f"{BIN}/mlflow", "server", "--host=0.0.0.0", f"--port={MLFLOW}", "--workers=1", *place, names]
        self.mlflow.start(words, self._environment())

    def _wait_for_mlflow(self) -> None:
        self.wait(lambda: answers(self.mlflow.address, MLFLOW), "MLflow", self.mlflow)

    def with_redis(self, server: str) -> None:
        """Start the cluster anew, with a head that keeps its state in Redis and so can come back.

        Args:
            server: the program of the Redis server.
        """
        options = ["--bind", self._redis.address, "--protected-mode", "no", "--appendonly", "yes", "--dir", "/tmp"]  # noqa: S108
        self._redis.start([server, *options], self._environment())
        self.wait(lambda: answers(self._redis.address, REDIS), "Redis", self._redis)
        self._of_head = {"RAY_REDIS_ADDRESS": f"{self._redis.address}:{REDIS}"}
        self._restart_all()

    def _restart_all(self) -> None:
        for machine in (self.head, *self.workers.values()):
            machine.kill()
        self._start_all()

    def _start_all(self) -> None:
        self.start_head()
        for worker in self.workers.values():
            self.start_worker(worker)
        self.wait_for_workers()

    def alive(self) -> dict[str, str] | None:
        """Return the ids of the nodes that the head calls alive, by address; None if it does not answer."""
        try:
            found = (self._ask("v0/nodes?limit=100") or {})["data"]["result"]["result"]
        except (KeyError, TypeError):
            return None
        return {node["node_ip"]: node["node_id"] for node in found if node["state"] == "ALIVE"}

    def _ask(self, path: str, method: str = "GET") -> dict[str, Any] | None:
        """Return the answer of the head's API; None if it does not answer, or refuses."""
        url = f"http://{self.head.address}:{DASHBOARD}/api/{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"}, method=method)
        try:
            with _direct().open(request, timeout=5) as answer:
                return dict(json.load(answer))
        except (OSError, ValueError):
            return None

    @staticmethod
    def wait(reached: Callable[[], bool], what: str, *machines: Machine, seconds: float = 180) -> None:
        """Poll what does not say by itself that it is ready.

        Raises:
            AssertionError: it is not ready in time; the message has the logs of some machines.
        """
        deadline = time.monotonic() + seconds
        while not reached():
            logs = "\n".join(f"{one.name}: {one.log.read_text()[-2000:]}" for one in machines if one.log.exists())
            assert time.monotonic() < deadline, f"no {what} in {seconds} s\n{logs}"
            time.sleep(0.5)

    @staticmethod
    def _environment() -> dict[str, str]:
        """What the operator of a machine gives to its processes, and nothing of this process."""
        return {
            "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp/home",  # noqa: S108 - each machine has a /tmp of its own
            "LANG": "C.UTF-8",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": "/tmp/token",  # noqa: S108
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_idle_worker_killing_time_threshold_ms": "60000",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",  # `ray job submit` would write into a pipe only once it has 8 KB
            "GIT_PYTHON_REFRESH": "quiet",
            "PYTHONWARNINGS": "ignore",
        }


def answers(address: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


@functools.cache
def _direct() -> urllib.request.OpenerDirector:
    """What asks an address without the proxies of this environment."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
