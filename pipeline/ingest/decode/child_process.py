"""Decoding in a process that can be killed: native code that hangs or crashes costs one clip, never the worker.

    the worker                              its child, one a thread, started once, used for many clips
    a request in JSON and a memfd,   ->     decodes; writes each picture into the memfd
      an anonymous file in memory;
      the source in another, where it
      is bytes and not a file
    maps the pictures, no copy       <-     their shape and the facts of the source, or an error, in JSON

Nothing is left behind when either side is killed with -9: a memfd has no name and goes with its last user, the kernel
kills the child when its worker dies, and a child that dies closes the socket on which the worker waits. The child is a
new interpreter, not a fork, which would copy the locks of a worker's threads; it imports PyAV and NumPy, no more.
"""

import contextlib
import ctypes
import fcntl
import json
import math
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.clip_errors import ClipError, DecodeCrash, DecodeError, DecodeTimeout, TooLarge, error_named
from pipeline.ingest.decode.clip import SourceFacts, decode_pictures

CLIPS_A_CHILD = 1000
"""Then it is replaced: leaks of native code stay small."""

MEMORY = 4 << 30
"""Bytes of address space that a child may take beside its own start: twenty frames of 8K."""

SPARE_FILES, SPARE_BYTES = 2, 256 << 20
"""Memory for pictures that a worker keeps from clip to clip: so many, of so many bytes at most."""

START_S = 60.0
"""Seconds in which a child must have started."""

_MESSAGE = 1 << 16  # bytes of a request or a reply
_ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = 1, -1, -3  # of linux/prctl.h and malloc.h


def decode_in_child(
    source: str | bytes,
    start_s: float | None,
    end_s: float | None,
    fps: int,
    short_side: int,
    max_seconds: float = 300.0,
    timeout_s: float = 120.0,
) -> tuple[NDArray[np.uint8], SourceFacts]:
    """`pipeline.ingest.decode.clip.decode_clip`, in this thread's child.

    Args:
        source: a path as there, or the content of a video file, which never touches a disk.
        start_s: see there, as for the following.
        end_s: see there.
        fps: see there.
        short_side: see there.
        max_seconds: see there.
        timeout_s: longest time spent on this clip.

    Returns:
        Frames, (T, H, W, 3) uint8 RGB in memory of their own, and facts of the source.

    Raises:
        ClipError: as there; further `DecodeTimeout` and `DecodeCrash`, after which the child is replaced.
        ChildError: no child starts here.
    """
    limits = [start_s, end_s, fps, short_side, max_seconds]
    if isinstance(source, str):
        return _child().decode([str(Path(source).absolute()), *limits], timeout_s)
    memory = _sealed(source)
    try:
        return _child().decode([None, *limits], timeout_s, memory)
    finally:
        os.close(memory)


class ChildError(RuntimeError):
    """A decoding process does not start; not the fault of any clip."""


class Child:
    """One decoding process."""

    def __init__(self) -> None:
        self._log = os.memfd_create("decode-stderr")
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "pipeline.ingest.decode.child_process"]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=self._log, cwd=_ROOT
            )
        self.owner = os.getpid()
        self.pid = self._process.pid
        self.clips = 0
        self.end = weakref.finalize(self, _end, self.owner, self._process, self._link, self._log)
        """Kill it and let go of everything; may be called again."""
        try:
            self._link.settimeout(START_S)
            started = self._link.recv(_MESSAGE)
        except OSError:
            started = b""
        if not started:
            raise ChildError(f"{' '.join(command)} in {_ROOT} does not start: {self._post_mortem()}")

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def decode(self, request: list[Any], timeout_s: float, *source: int) -> tuple[NDArray[np.uint8], SourceFacts]:
        """The arguments of `decode_pictures` but the last, to frames and facts; see `decode_in_child`.

        Where the path is None, `source` is a memfd with the content.
        """
        self.clips += 1
        file = _take()
        try:
            self._link.settimeout(timeout_s)
            socket.send_fds(self._link, [json.dumps(request).encode()], [file, *source])
            message = self._link.recv(_MESSAGE)
        except TimeoutError:
            os.close(file)
            self.end()
            raise DecodeTimeout(f"killed after {timeout_s:g} s (ingest.decode_timeout_s)") from None
        except OSError:
            message = b""
        if not message:
            os.close(file)
            raise DecodeCrash(self._post_mortem())
        reply = json.loads(message)
        if "error" in reply:
            _give_back(file)
            raise error_named(reply["error"])(reply["message"])
        return _mapped(file, tuple(reply["shape"])), SourceFacts(**reply["facts"])

    def _post_mortem(self) -> str:
        """How it died and its last words."""
        self._process.kill()  # where it only closed the socket
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        words = (
            os.pread(self._log, 4096, max(0, os.fstat(self._log).st_size - 4096)).decode(errors="replace").split("\n")
        )
        last = next((line.strip() for line in reversed(words) if line.strip()), "")
        self.end()
        return f"the decoding process {how}{last and f': {last}'}"


_children = threading.local()


def _child() -> Child:
    """This thread's child, which is started where there is none, or where it is used up, dead or another process's."""
    child: Child | None = getattr(_children, "child", None)
    if child is None or child.owner != os.getpid() or child.clips >= CLIPS_A_CHILD or not child.alive:
        if child is not None:
            child.end()
        _children.child = child = Child()
    return child


def _end(owner: int, process: subprocess.Popen[bytes], link: socket.socket, log: int) -> None:
    """Let go of a child; a fork of its owner only closes its own copies."""
    link.close()
    os.close(log)
    if os.getpid() != owner:
        return
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # asleep in the kernel, on a dead network disk say
        process.wait(timeout=5)


_spare: list[int] = []  # memfds whose pages are there already, which saves the kernel clearing 80 MB a clip


def _take() -> int:
    """A memfd to write pictures into; what it holds is void."""
    try:
        return _spare.pop()
    except IndexError:
        file = os.memfd_create("clip", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # what is mapped stays there
        return file


def _give_back(file: int) -> None:
    """Nobody looks at a memfd any more."""
    if len(_spare) < SPARE_FILES and os.fstat(file).st_size <= SPARE_BYTES:
        _spare.append(file)
    else:
        os.close(file)


def _sealed(content: bytes) -> int:
    """A memfd of this content, which nobody can change while it is read."""
    file = os.memfd_create("source", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(file, "wb", closefd=False) as opened:
        opened.write(content)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return file


def _mapped(file: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The pictures in a memfd as an array, which gives the memfd back when it goes."""
    size = math.prod(shape)
    memory = mmap.mmap(file, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    weakref.finalize(memory, _give_back, file).atexit = False
    return np.frombuffer(memory, np.uint8).reshape(shape)


def _serve() -> None:
    """The child: answer requests on file descriptor 0 until it closes."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # keep the memory of one picture for the next
    libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker to answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + MEMORY,) * 2)
    av.logging.set_level(av.logging.ERROR)  # so that errors come with libav's own words
    with socket.socket(fileno=0) as link:
        link.send(b"started")
        while True:
            request, files, _, _ = socket.recv_fds(link, _MESSAGE, 2)
            if not request:
                return
            path, *limits = json.loads(request)
            reply = _answer([path or f"/proc/self/fd/{files[1]}", *limits], files[0])
            for file in files:
                os.close(file)
            link.send(json.dumps(reply).encode())


def _answer(request: list[Any], file: int) -> dict[str, Any]:
    """Decode one clip into the memfd."""
    shapes: list[tuple[int, ...]] = []

    def keep(position: int, picture: NDArray[np.uint8]) -> None:
        os.pwrite(file, picture.data, position * picture.nbytes)
        shapes[position:] = [picture.shape]

    try:
        facts = decode_pictures(*request, keep=keep)
        return {"shape": (len(shapes), *shapes[0]), "facts": facts.columns()}
    except ClipError as error:
        return {"error": type(error).__name__, "message": str(error)[:4096]}
    except MemoryError:
        return {"error": TooLarge.__name__, "message": f"decoding it needs more than {MEMORY >> 30} GiB"}
    except Exception as error:  # PyAV has more kinds than its own: all are this clip's
        return {"error": DecodeError.__name__, "message": f"{type(error).__name__}: {error}"[:4096]}


if __name__ == "__main__":
    _serve()
