"""Decoding in a child process that can be killed: native code that hangs or crashes costs one clip, not the worker.

    the worker                              its child (one per thread, used for many clips)
    sends a request in JSON and a    ->     decodes, and writes each picture into the memfd
      memfd (an anonymous file in
      memory), and a second memfd
      if the source is bytes
    maps the pictures without a copy <-     sends their shape and the facts of the source, or an error, in JSON

Nothing is left behind if either side is killed with SIGKILL: a memfd has no name and disappears with its last user, the
kernel kills the child when its worker dies, and a child that dies closes the socket on which the worker waits. The
child is a new interpreter, because a fork would copy the locks of the worker's threads. Of third-party packages it
imports only PyAV and NumPy.
"""

import contextlib
import ctypes
import fcntl
import json
import math
import mmap
import os
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

from pipeline.ingest.child_environment import child_environment
from pipeline.ingest.clip_errors import ClipError, DecodeCrash, DecodeError, DecodeTimeout, TooLarge, error_named
from pipeline.ingest.decode import jail
from pipeline.ingest.decode.clip import SourceFacts, decode_pictures

CLIPS_A_CHILD = 1000
"""Number of clips after which a child is replaced, so that memory leaks of native code stay small."""

MEMORY, FILE = 4 << 30, 32 << 30
"""Bytes of address space that a child may use in addition to what it uses at its start: twenty frames of 8K; and the
largest size of a memfd in bytes: the frames of an hour at 340x256."""

SPARE_FILES, SPARE_BYTES = 2, 256 << 20
"""Largest number of memfds that a worker keeps for later clips, and the largest size of each in bytes."""

START_S = 60.0
"""Longest time in seconds that a child may take to start."""

_MESSAGE = 1 << 16  # largest number of bytes of a request or a reply
_ROOT = Path(__file__).parents[3]
_PR_SET_PDEATHSIG, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = 1, -1, -3  # from linux/prctl.h and malloc.h


def decode_in_child(
    source: str | bytes,
    start_s: float | None,
    end_s: float | None,
    fps: int,
    short_side: int,
    max_seconds: float = 300.0,
    timeout_s: float = 120.0,
) -> tuple[NDArray[np.uint8], SourceFacts]:
    """Call `pipeline.ingest.decode.clip.decode_clip` in this thread's child.

    Args:
        source: path of a video file, or the content of one, which is not written to disk.
        start_s: see `decode_clip`.
        end_s: see `decode_clip`.
        fps: see `decode_clip`.
        short_side: see `decode_clip`.
        max_seconds: see `decode_clip`.
        timeout_s: longest time in seconds spent on this clip.

    Returns:
        Frames, (T, H, W, 3) uint8 RGB in memory that only they use, and facts of the source.

    Raises:
        ClipError: as for `decode_clip`; also `DecodeTimeout` and `DecodeCrash`, after which the child is replaced.
        ChildError: no child can be started.
    """
    limits = [start_s, end_s, fps, short_side, max_seconds]
    if isinstance(source, str):
        return _child().decode([str(Path(source).absolute()), *limits], timeout_s)
    memory = _sealed(source)
    try:
        return _child().decode([None, *limits], timeout_s, memory)
    finally:
        os.close(memory)


def jail_in_force() -> str:
    """Return what is in force of `pipeline.ingest.decode.jail` in this thread's child; `nothing` if nothing is.

    Raises:
        ChildError: no child can be started.
    """
    return _child().jail


class ChildError(RuntimeError):
    """An error that is raised if a decoding process does not start; no clip is the cause."""


class Child:
    """One decoding process."""

    def __init__(self) -> None:
        self._log = os.memfd_create("decode-stderr")
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "pipeline.ingest.decode.child_process"]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=self._log, cwd=_ROOT,
                env=child_environment(OPENBLAS_NUM_THREADS="1"),
            )  # fmt: skip
        self.owner = os.getpid()
        self.pid = self._process.pid
        self.clips = 0
        self.end = weakref.finalize(self, _end, self.owner, self._process, self._link, self._log)
        """Kill the process and release its resources; may be called more than once."""
        try:
            self._link.settimeout(START_S)
            started = self._link.recv(_MESSAGE)
        except OSError:
            started = b""
        if not started:
            raise ChildError(f"{' '.join(command)} in {_ROOT} does not start: {self._post_mortem()}")
        self.jail = started.decode()
        """What is in force of `pipeline.ingest.decode.jail`."""

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def decode(self, request: list[Any], timeout_s: float, *source: int) -> tuple[NDArray[np.uint8], SourceFacts]:
        """Decode one clip and return its frames and facts; see `decode_in_child`.

        Args:
            request: the arguments of `decode_pictures` except `keep`.
            timeout_s: longest time in seconds.
            source: a memfd with the content, if the path in `request` is None.
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
        """Return how the process ended and the last line that it wrote."""
        self._process.kill()  # in case it has only closed the socket
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
    """Return this thread's child; start one if there is none, or if it is used up, dead or another process's child."""
    child: Child | None = getattr(_children, "child", None)
    if child is None or child.owner != os.getpid() or child.clips >= CLIPS_A_CHILD or not child.alive:
        if child is not None:
            child.end()
        _children.child = child = Child()
    return child


def _end(owner: int, process: subprocess.Popen[bytes], link: socket.socket, log: int) -> None:
    """Kill a child and release its resources; a fork of the owner only closes its own copies of the descriptors."""
    link.close()
    os.close(log)
    if os.getpid() != owner:
        return
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the kernel, as on a dead network disk
        process.wait(timeout=5)


_spare: list[int] = []  # memfds whose pages exist already, so that the kernel need not clear 80 MB per clip


def _take() -> int:
    """Return a memfd to write pictures into; it may hold old data."""
    try:
        return _spare.pop()
    except IndexError:
        file = os.memfd_create("clip", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # so that mapped pages stay valid
        return file


def _give_back(file: int) -> None:
    """Take back a memfd that is no longer used: keep it for later clips, or close it."""
    if len(_spare) < SPARE_FILES and os.fstat(file).st_size <= SPARE_BYTES:
        _spare.append(file)
    else:
        os.close(file)


def _sealed(content: bytes) -> int:
    """Return a memfd with this content, which nobody can change while it is read."""
    file = os.memfd_create("source", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(file, "wb", closefd=False) as opened:
        opened.write(content)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return file


def _mapped(file: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the pictures in a memfd as an array; the memfd is given back when the array is freed."""
    size = math.prod(shape)
    memory = mmap.mmap(file, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    weakref.finalize(memory, _give_back, file).atexit = False
    return np.frombuffer(memory, np.uint8).reshape(shape)


def _serve() -> None:
    """Run the child: answer requests on file descriptor 0 until it is closed."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # reuse the memory of one picture for the next
    libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker handles Ctrl-C
    av.logging.set_level(av.logging.ERROR)  # so that errors contain libav's own messages
    in_force = jail.enter(MEMORY, FILE)
    with socket.socket(fileno=0) as link:
        link.send(", ".join(in_force).encode() or b"nothing")
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
    """Decode one clip into the memfd and return the reply."""
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
    except Exception as error:  # PyAV also raises other types; all are errors of this clip
        return {"error": DecodeError.__name__, "message": f"{type(error).__name__}: {error}"[:4096]}


if __name__ == "__main__":
    _serve()
