"""MLflow as compose.yaml starts it, on loopback: PostgreSQL from its package, S3, the server from its lock."""

import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.object_store import KEYS, Store

from .manifests import INFRA

LOCK = INFRA / "mlflow" / "requirements.lock"
POSTGRES_PASSWORD, ADMIN_PASSWORD = "a'postgres %password", "an:admin@pass/word"
WAIT_S = 300  # a busy machine takes a minute


def server_programs(cache: Path) -> Path:
    """The folder of the programs of an environment with the server's lock, which is made once."""
    programs = cache / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16] / "bin"
    if not (programs.parent / "whole").exists():
        shutil.rmtree(programs.parent, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", programs.parent], check=True)
        install = [programs / "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "-r", LOCK]
        subprocess.run(install, check=True)
        (programs.parent / "whole").touch()
    return programs


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql: it comes with Debian's package postgresql")
    return found[-1].parent


@dataclass
class Postgres:
    """A database server with one user, `mlflow`, who needs a password."""

    folder: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.programs = postgres_programs()
        self.folder.mkdir()
        password = self.folder / "password"
        password.write_text(POSTGRES_PASSWORD)
        if os.getuid() == 0:  # PostgreSQL refuses root
            user = pwd.getpwnam("postgres")
            for path in (self.folder, password):
                os.chown(path, user.pw_uid, user.pw_gid)
        data = self.folder / "data"
        self._as_user("initdb", "--auth=scram-sha-256", "--username=mlflow", f"--pwfile={password}", "-D", data)
        self.control("start")

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find the database."""
        server = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "mlflow", "PGDATABASE": "mlflow"}
        return {**server, "PGPASSWORD": POSTGRES_PASSWORD}

    def control(self, *words: str) -> None:
        """`pg_ctl`: start; stop or restart, `-m immediate` as if the machine had lost its power."""
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder}"
        log = self.folder / "log"
        self._as_user("pg_ctl", "--wait", "-D", self.folder / "data", "-o", options, "-l", log, *words)

    def _as_user(self, program: str, *words: Any) -> None:
        drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*drop, self.programs / program, *map(str, words)],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


class Server:
    """The server process, which can be killed and started again at the same port."""

    def __init__(self, programs: Path, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.port = free_port()
        words = [
            word.replace(":5000", f":{self.port}").replace("--port=5000", f"--port={self.port}") for word in command
        ]
        changed = {"--host=0.0.0.0": "--host=127.0.0.1", "--workers=4": "--workers=1"}
        self.command = [str(programs / words[0]), *(changed.get(word, word) for word in words[1:])]
        self.environment, self.folder = environment, folder
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5)  # noqa: S310
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.kill()
        raise AssertionError((self.folder / "server.log").read_text()[-3000:])

    def kill(self) -> None:
        """kill -9 of all its processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Stack:
    """The three services, the variables by which the page's commands find them, and the programs for these."""

    postgres: Postgres
    store: Store
    server: Server
    programs: Path

    def environment(self) -> dict[str, str]:
        path = f"{self.programs}:{self.postgres.programs}:{os.environ['PATH']}"
        return {**self.server.environment, "PATH": path, "MLFLOW_URL": self.server.uri}


@contextmanager
def mlflow_stack(folder: Path, cache: Path, store: Store, compose: dict[str, Any]) -> Iterator[Stack]:
    """Start all three, with the server's command and environment of compose.yaml."""
    postgres_programs()  # skips before anything is installed
    programs = server_programs(cache)
    folder.chmod(0o711)  # so that PostgreSQL's user reaches its own folder
    postgres = Postgres(folder / "postgres")
    try:
        subprocess.run(
            [postgres.programs / "createdb", "mlflow"],
            env={**os.environ, **postgres.environment, "PGDATABASE": "postgres"}, check=True,
        )  # fmt: skip
        ours = {
            **postgres.environment,
            **{name.upper(): value for name, value in KEYS.items()},
            "MLFLOW_S3_ENDPOINT_URL": f"http://{store.endpoint}",
            "MLFLOW_AUTH_CONFIG_PATH": str(INFRA / "mlflow" / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
        }
        environment = {**os.environ, **compose["environment"], **ours}
        subprocess.run([programs / "python", INFRA / "mlflow" / "objects.py", "make"], env=environment, check=True)
        server = Server(programs, compose["command"], environment, folder)
        try:
            yield Stack(postgres, store, server, programs)
        finally:
            server.kill()
    finally:
        postgres.control("-m", "immediate", "stop")
