"""Machines on one machine: each has a network address, a host name, processes, mounts and temporary folders of its own.

A machine is a set of Linux namespaces behind a virtual cable to one bridge. All machines see one shared folder at
`SHARE`, as a team's machines see their NFS. This needs root and iproute2. Processes are found by the namespace of their
network, never by name, and nothing outside of the namespaces is changed but the bridge.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

BRIDGE, SUBNET = "vabridge", "10.213.77"
SHARE = "/mnt"  # where every machine sees the shared folder
DEVICE = "va-share"  # its name among the mounts
SHARE_BYTES = 2 << 30  # a checkpoint has 100 MB
MEMORY = Path("/sys/fs/cgroup/memory")
FULL = 0.95  # share of a machine's memory that is in use while it is out of memory
TOOLS = ("ip", "unshare", "nsenter", "mount")
LOCK = "/run/lock/video-actions-cluster"
# It holds as much memory as its first argument says until its input ends.
HOLD = """
import sys
held = b"x" * int(sys.argv[1])
print("holds it", flush=True)
sys.stdin.read()
"""
# What a machine does first: its name, its own list of names, the shared folder, and temporary folders of its own.
BOOT = f"""
echo "$1" > /proc/sys/kernel/hostname
mount --bind "$2/hosts" /etc/hosts
mount --bind "$3" {SHARE}
mount --bind "$2/tmp" /tmp
mount -t tmpfs -o size=1g tmpfs /dev/shm
if [ "$4" ]; then  # Ray finds the limit of its memory where a container shows it
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/memory /sys/fs/cgroup/all
    mount -t cgroup -o memory cgroup /sys/fs/cgroup/all
    mount --bind "/sys/fs/cgroup/all/$4" /sys/fs/cgroup/memory
fi
shift 4
exec "$@"
"""


class NoMachinesError(Exception):
    """The error raised where machines cannot be made; its message is the reason."""


class MachineError(Exception):
    """The error raised when a command on a machine fails; its message has the command and what it said."""


@dataclass
class Machine:
    """One machine.

    Attributes:
        name: its host name.
        address: its address in the network of the bridge.
        folder: its disk: hosts, tmp/ and the logs of what runs on it.
        share: the shared folder, by its path outside of the machine.
        memory_bytes: its memory; None for that of this system, or where this system has no control groups of version 1.
    """

    name: str
    address: str
    folder: Path
    share: Path
    memory_bytes: int | None = None
    _daemons: list[subprocess.Popen] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """The name of its network namespace."""
        return f"va-{self.name}"

    def command(self, words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """The command line that runs another on this machine; it ends with all its children when it is killed.

        On a machine with services, it is one more process among them, and sees what they see.
        """
        given = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        if self.runs:
            spaces = ["nsenter", f"--target={self._boot}", "--net", "--uts", "--mount", "--pid"]
            return [*self._in_its_memory, *spaces, *given, *words]
        apart = ["unshare", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        group = self.namespace if self.memory.is_dir() else ""
        boot = ["sh", "-euc", BOOT, "boot", self.name, str(self.folder), str(self.share), group]
        return [*self._in_its_memory, "ip", "netns", "exec", self.namespace, *apart, *boot, *given, *words]

    @property
    def _in_its_memory(self) -> list[str]:
        """The beginning of a command line whose memory counts as that of the machine."""
        return ["sh", "-c", f'echo $$ > {self.memory}/cgroup.procs; exec "$@"', "sh"] if self.memory.is_dir() else []

    @property
    def _boot(self) -> int:
        """The first process of its services, in all of its namespaces."""
        (boot,) = psutil.Process(self._daemons[-1].pid).children()
        return boot.pid

    def start(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a service, which is started again whenever it ends, as by systemd with Restart=always."""
        again = ["sh", "-c", 'while :; do "$@" || echo "ended with $?"; sleep 2; done', "again", *words]
        with self.log.open("ab") as log:
            output: Any = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._daemons.append(
                subprocess.Popen(self.command(again, environment), start_new_session=True, cwd="/", **output)
            )

    @property
    def runs(self) -> bool:
        """Whether its services were started, and not killed since."""
        return bool(self._daemons)

    @property
    def log(self) -> Path:
        """What its services have written."""
        return self.folder / "log"

    def kill(self) -> None:
        """kill -9 of every process of the machine."""
        while found := self.pids():
            _send(found, signal.SIGKILL)
            for daemon in self._daemons:
                daemon.wait()
            time.sleep(0.05)
        self._daemons.clear()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop every process of the machine, and let them go on at the end."""
        stopped: set[int] = set()
        while new := self.pids() - stopped:
            _send(new, signal.SIGSTOP)
            stopped |= new
        try:
            yield
        finally:
            _send(stopped, signal.SIGCONT)

    @contextlib.contextmanager
    def unplugged(self) -> Iterator[None]:
        """Unplug the network cable, and plug it in again at the end."""
        _run("ip", "link", "set", self.cable, "down")
        try:
            yield
        finally:
            _run("ip", "link", "set", self.cable, "up")

    def mount(self, *words: str) -> None:
        """Run a command, such as umount, which asks /proc for itself, among the mounts of the machine's services."""
        _run("nsenter", f"--target={self._boot}", "--mount", "--pid", *words)

    @contextlib.contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """Fill the memory up to `FULL` by a process that Ray does not know, until the end.

        Ray, which looks four times a second, then ends the processes that it has started itself. The system, which Ray
        has told to end those first, does nothing before the memory is full.
        """
        count = str(self.bytes_to_fill())
        holder = subprocess.Popen(
            [*self._in_its_memory, sys.executable, "-c", HOLD, count], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline(), f"{self.name} has no {count} bytes"
            yield
        finally:
            holder.kill()
            holder.communicate()

    def bytes_to_fill(self) -> int:
        """The memory that is missing to `FULL`. What is in use counts as for Ray: without files unread for long."""
        assert self.memory_bytes is not None
        lines = (self.memory / "memory.stat").read_text().splitlines()
        stat = {name: int(value) for name, value in map(str.split, lines)}
        used = stat["total_rss"] + stat["total_cache"] - stat["total_inactive_file"]
        return int(FULL * self.memory_bytes) - used

    def mend(self) -> None:
        """Undo what an interrupted scenario may have left: processes that stand still, an unplugged cable."""
        _send(self.pids(), signal.SIGCONT)
        _run("ip", "link", "set", self.cable, "up")

    @property
    def memory(self) -> Path:
        """The control group of its memory, where this system has version 1 of these groups."""
        return MEMORY / self.namespace

    @property
    def cable(self) -> str:
        """The end of its cable that is in the bridge."""
        return f"va-{self.name}"

    def pids(self) -> set[int]:
        """The numbers, outside of the machine, of its processes."""
        if not Path("/run/netns", self.namespace).exists():
            return set()
        return {int(word) for word in _run("ip", "netns", "pids", self.namespace).split()}

    def processes(self, pattern: str) -> list[psutil.Process]:
        """Its processes whose command line, or the title that they gave themselves, matches."""
        found = []
        for pid in self.pids():
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                one = psutil.Process(pid)
                if re.search(pattern, " ".join(one.cmdline())):
                    found.append(one)
        return found


class Lan:
    """The bridge and the machines on it."""

    def __init__(self, folder: Path) -> None:
        """Make the bridge.

        Args:
            folder: where the disks of the machines and the shared folder are.

        Raises:
            NoMachinesError: machines cannot be made here.
        """
        self.folder, self.share = folder, folder / "share"
        self.machines: dict[str, Machine] = {}
        if os.geteuid() != 0:
            raise NoMachinesError("machines of their own need root")
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise NoMachinesError(f"not installed: {', '.join(missing)} (iproute2 and util-linux have them)")
        self._lock = open(LOCK, "w")  # noqa: SIM115, PTH123 - it is held until `close`
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NoMachinesError("another cluster of this kind is running on this machine") from None
        self._clear()  # what a killed run has left
        try:
            _run("ip", "link", "add", BRIDGE, "type", "bridge")
        except MachineError as error:
            raise NoMachinesError(f"this kernel makes no bridge ({error})") from error
        _run("ip", "addr", "add", f"{SUBNET}.254/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        self.share.mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={SHARE_BYTES}", DEVICE, str(self.share))

    def machine(self, name: str, number: int, own_address: str | None = "", memory: int | None = None) -> Machine:
        """Add a machine.

        Args:
            name: its host name.
            number: the last number of its address.
            own_address: the address to which its own name resolves, such as 127.0.1.1; empty for that of the machine,
                None for none.
            memory: bytes of its memory, where this system can limit it; None for that of this system.
        """
        one = Machine(name, f"{SUBNET}.{number}", self.folder / name, self.share)
        (one.folder / "tmp/home").mkdir(parents=True)
        own = "" if own_address is None else f"{own_address or one.address} {name}\n"
        (one.folder / "hosts").write_text(f"127.0.0.1 localhost\n{own}")
        _run("ip", "netns", "add", one.namespace)
        self.machines[name] = one
        if (MEMORY / "memory.limit_in_bytes").exists():
            one.memory.mkdir()
            if memory is not None:
                (one.memory / "memory.limit_in_bytes").write_text(str(memory))
                one.memory_bytes = memory
        _run("ip", "link", "add", one.cable, "type", "veth", "peer", "name", "eth0", "netns", one.namespace)
        _run("ip", "link", "set", one.cable, "master", BRIDGE, "up")
        inside = ("ip", "-n", one.namespace)
        _run(*inside, "addr", "add", f"{one.address}/24", "dev", "eth0")
        for link in ("eth0", "lo"):
            _run(*inside, "link", "set", link, "up")
        return one

    def close(self) -> None:
        """End every process on the machines, and take the machines, their disks and the bridge away."""
        for one in self.machines.values():
            one.kill()
        self._clear()
        for name in (*self.machines, self.share.name):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self._lock.close()

    @staticmethod
    def _clear() -> None:
        for path in Path("/run/netns").glob("va-*") if Path("/run/netns").is_dir() else ():
            Machine(path.name.removeprefix("va-"), "", Path(), Path()).kill()
            subprocess.run(["ip", "link", "delete", path.name], check=False, capture_output=True)  # its cable
            _run("ip", "netns", "delete", path.name)
            _remove_group(MEMORY / path.name)
        for line in Path("/proc/mounts").read_text().splitlines():
            device, folder, *_ = line.split()
            if device == DEVICE:
                subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True)
        if Path("/sys/class/net", BRIDGE).exists():
            _run("ip", "link", "delete", BRIDGE)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise MachineError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _send(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _remove_group(folder: Path, seconds: float = 10) -> None:
    """Remove a control group, once the last of its processes is gone."""
    deadline = time.monotonic() + seconds
    while folder.is_dir():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
