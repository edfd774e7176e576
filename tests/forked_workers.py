"""The tests' Ray forks its workers from one process, which has imported what they need.

A worker that trains imports torch, Ray Train and MLflow before its first step: 13 seconds of a processor, hundreds of
times in a run of all tests. `forked_workers` starts a server that imports these once. The raylet then starts this file
as a script where it would start Ray's own `setup_worker.py`; the script asks the server for a worker, and lives as long
as that. The worker is Ray's `default_worker.py` in a process of its own, with the environment, working directory and
output that the raylet gave to the script. Nothing else of Ray is changed.

A job with a Ray of its own, in a process of its own, forks its workers from the same server if it is started
as `python -m tests.forked_workers job jobs/ingest.py ...`. Started without that it has Ray's usual workers.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = "FORKED_WORKERS"  # the environment variable with the path of the server's socket
JOB = (sys.executable, "-m", "tests.forked_workers", "job")
IMPORTED = ("ray.data", "ray.train.torch", "torch._dynamo", "mlflow", "pipeline.features.run", "pipeline.training.loop")


@contextmanager
def forked_workers(folder: Path) -> Iterator[None]:
    """Let every Ray node that this process starts inside the context fork its workers.

    Args:
        folder: where the server's socket is created, unless a process above this one has a server.
    """
    from ray._private import ray_constants

    ours, before = str(Path(__file__).resolve()), ray_constants.SETUP_WORKER_FILENAME
    server = None if ADDRESS in os.environ else start_server(folder / "workers")
    ray_constants.SETUP_WORKER_FILENAME = ours  # Ray joins it to a folder, which an absolute path replaces
    try:
        yield
    finally:
        ray_constants.SETUP_WORKER_FILENAME = before
        if server:
            del os.environ[ADDRESS]
            server.communicate()  # the end of its input ends it


def start_server(socket_path: Path) -> subprocess.Popen:
    """Start the server, and name its socket to all processes below."""
    os.environ[ADDRESS] = str(socket_path)
    serve = [sys.executable, str(Path(__file__).resolve()), "serve"]
    server = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    return server


def run_job(argv: list[str]) -> None:
    """Run a job's script with its arguments as `python SCRIPT ...` does, but let its Ray fork its workers."""
    sys.argv, sys.path[0] = argv, str(Path(argv[0]).parent)
    with tempfile.TemporaryDirectory() as folder, forked_workers(Path(folder)):
        runpy.run_path(argv[0], run_name="__main__")


def ask() -> None:
    """Ask the server for a worker, and return when it has ended."""
    told = json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ[ADDRESS])
        socket.send_fds(server, [len(told).to_bytes(8, "little")], [0, 1, 2])
        server.sendall(told)
        server.recv(1)  # returns when the worker, the last to have the other end, has ended


def serve() -> None:
    """Fork a worker for everyone who asks, until the input ends.

    The modules are imported when the first one asks, in its environment: Ray reads whether its cluster wants a token
    when it is imported.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(os.environ[ADDRESS])
        door.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([door, sys.stdin], [], [])
            if sys.stdin in ready:
                os._exit(0)  # a usual end would report the modules that `gc.freeze` keeps as leaks
            asker, _ = door.accept()
            size, streams, _, _ = socket.recv_fds(asker, 8, 3)
            with asker.makefile("rb") as told:
                asked = json.loads(told.read(int.from_bytes(size, "little")))
            if IMPORTED[-1] not in sys.modules:
                os.environ.update(asked["environment"])
                import_all()
            if os.fork() == 0:
                door.close()
                work(asked, streams)
            for handle in (*streams, asker.detach()):
                os.close(handle)


def import_all() -> None:
    """Import what workers need, and leave Ray's random numbers alone.

    Ray draws an id for each class of actors that is defined, and workers that are forked after the first draw would all
    draw the same ids for their tasks, which Ray's processes then take for one.
    """
    import ray.actor

    class Id(ray.actor.ActorClassID):
        @classmethod
        def from_random(cls) -> ray.actor.ActorClassID:
            return ray._raylet.ActorClassID(os.urandom(cls.size()))

    before, ray.actor.ActorClassID = ray.actor.ActorClassID, Id
    for module in IMPORTED:
        __import__(module)
    ray.actor.ActorClassID = before
    gc.freeze()  # no worker looks through all these modules for garbage, nor copies their memory by that


def work(asked: dict, streams: list[int]) -> None:
    """Become the worker that was asked for; at its end it does not take its modules apart, which costs 2.5 seconds."""
    atexit.register(os._exit, 0)  # the first to be registered is the last to be called
    os.setpgrp()  # Ray kills the process group of a worker
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    script, arguments = of_setup(asked["arguments"])
    threads_and_seeds()
    sys.argv, sys.path[0] = [script, *arguments], str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
    sys.exit()


def of_setup(arguments: list[str]) -> tuple[str, list[str]]:
    """Do what Ray's setup_worker.py does: take the environment's variables; return the script and its arguments."""
    from ray._private.runtime_env.context import RuntimeEnvContext

    context, rest = "{}", []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--serialized-runtime-env-context":
            context = value
        elif name != "--language":
            rest.append(argument)
    os.environ.update(RuntimeEnvContext.deserialize(context).env_vars)
    return rest[0], rest[1:]


def threads_and_seeds() -> None:
    """Give this process what an import of its own would have: its number of threads, and random numbers of its own."""
    import random

    import numpy as np
    import torch

    random.seed()
    np.random.seed()  # noqa: NPY002 - the generator that libraries share
    torch.set_num_threads(1)  # Ray sets OMP_NUM_THREADS to 1 before a worker imports torch


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif sys.argv[1] == "job":
        run_job(sys.argv[2:])
    else:
        ask()
