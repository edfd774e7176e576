"""Decoding in a child process that can be killed: native code that hangs or crashes costs one clip, not the worker.

    the worker                              its child (one per thread, used for many clips)
    sends a request in JSON and a    ->     decodes, and writes pictures into the memfd until a slice of time is full
      memfd (an anonymous file in
      memory), and a second memfd
      if the source is bytes
    maps the slice without a copy    <-     sends the slice's shape in JSON, and waits
    sends another memfd              ->     goes on with the next slice
    maps the last slice              <-     sends its shape and the facts of the source, or an error

The child waits while the worker works on a slice, so the memory of both does not grow with the length of the clip.

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
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.child_environment import child_environment
from pipeline.ingest.clip_errors import (
    ChildError,
    ClipError,
    DecodeCrash,
    DecodeError,
    DecodeTimeout,
    TooLarge,
    WorkerKilled,
    error_named,
)
from pipeline.ingest.decode import jail
from pipeline.ingest.decode.clip import SourceFacts, decode_pictures

CLIPS_A_CHILD = 1000
"""Number of clips after which a child is replaced, so that memory leaks of native code stay small."""

MEMORY, FILE = 4 << 30, 32 << 30
"""Bytes of address space that a child may use in addition to what it uses at its start: twenty frames of 8K; and the
largest size of a memfd in bytes: the frames of an hour at 340x256."""

SLICE_PICTURES, USUAL_BYTES = 64, 512 << 10
"""Largest number of pictures of a slice. Pictures of more than the usual size, 593x296, make shorter slices."""

WHOLE_BYTES = 4 << 30
"""Largest size in bytes of a clip that is asked for in one piece: 300 s of 341x256 at 25 frames a second are 2 GB."""

SPARE_FILES, SPARE_BYTES = 2, 256 << 20
"""Largest number of memfds that a worker keeps for later clips, and the largest size of each in bytes."""

START_S, STARTS = 60.0, 3
"""Longest time in seconds that a child may take to start, and the number of times that it is tried."""

KILLS = 2
"""Number of children that may be killed from outside at one clip before the clip counts as failed."""

TIMED_S = 300.0
"""Length of a clip in seconds for which the time-out is meant; a longer clip gets more time in proportion."""

_MESSAGE = 1 << 16  # largest number of bytes of a request or a reply
_MORE, _STOP = b"more", b"stop"
_ROOT = Path(__file__).parents[3]
_PR_SET_PDEATHSIG, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = 1, -1, -3  # from linux/prctl.h and malloc.h


class Slice(NamedTuple):
    """Consecutive pictures of a clip."""

    start: int
    """Position of the first picture in the clip. A second 0: decoding has started again, what came before is void."""
    pictures: NDArray[np.uint8]
    """(T, H, W, 3) uint8 RGB, in memory that only they use."""
    facts: SourceFacts | None
    """Facts of the source; only the last slice has them."""


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
        ClipError: as for `decode_clip`. Also `DecodeTimeout` and `DecodeCrash`, after which the child is replaced;
            `TooLarge`, if the frames take more than `WHOLE_BYTES`; and those of `slices_from_child`.
    """
    limits = [start_s, end_s, fps, short_side, max_seconds]
    ((_, frames, facts),) = _requested(source, limits, timeout_s, None)
    return frames, cast(SourceFacts, facts)


def slices_from_child(
    source: str | bytes,
    start_s: float | None,
    end_s: float | None,
    fps: int,
    short_side: int,
    max_seconds: float,
    timeout_s: float,
    pictures: int = SLICE_PICTURES,
) -> Iterator[Slice]:
    """Decode as `decode_in_child` does, but yield the pictures in slices of time; the child waits between slices.

    Close the iterator if you do not take all slices, so that the child is free for the next clip.

    Args:
        source: see `decode_in_child`.
        start_s: see `decode_clip`.
        end_s: see `decode_clip`.
        fps: see `decode_clip`.
        short_side: see `decode_clip`.
        max_seconds: see `decode_clip`.
        timeout_s: longest time in seconds that the child may take for a clip of up to `TIMED_S`; each picture adds its
            share for a longer clip. The time between slices does not count.
        pictures: largest number of pictures of a slice; fewer, if they are larger than `USUAL_BYTES`.

    Raises:
        ClipError: as for `decode_in_child`.
        WorkerKilled: `KILLS` children were killed from outside at this clip; after the first, decoding starts again.
        ChildError: no child can be started.
    """
    limits = [start_s, end_s, fps, short_side, max_seconds]
    yield from _requested(source, limits, timeout_s, pictures)


def _requested(source: str | bytes, limits: list[Any], timeout_s: float, most: int | None) -> Iterator[Slice]:
    """Decode in this thread's child, and once more in a new one if it is killed from outside."""
    path = str(Path(source).absolute()) if isinstance(source, str) else None
    memory = [] if isinstance(source, str) else [_sealed(source)]
    try:
        for attempt in range(KILLS):
            try:
                yield from _child().decode([path, *limits], timeout_s, *memory, most=most)
                return
            except _Killed as error:
                if attempt + 1 == KILLS:
                    raise WorkerKilled(f"{error}, {KILLS} times; most often for lack of memory") from None
    finally:
        for file in memory:
            os.close(file)


def jail_in_force() -> str:
    """Return what is in force of `pipeline.ingest.decode.jail` in this thread's child; `nothing` if nothing is.

    Raises:
        ChildError: no child can be started.
    """
    return _child().jail


class _Killed(Exception):  # noqa: N818
    """The child was killed from outside (SIGKILL), which is no fault of the clip as far as is known."""


class Child:
    """One decoding process."""

    def __init__(self, command: Sequence[str] = ()) -> None:
        """Start it.

        Args:
            command: the command that runs `_serve`; empty for this module, run by this interpreter.
        """
        self._log = os.memfd_create("decode-stderr")
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = command or [sys.executable, "-m", "pipeline.ingest.decode.child_process"]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=self._log, cwd=_ROOT,
                env=child_environment(OPENBLAS_NUM_THREADS="1"),
            )  # fmt: skip
        self.owner = os.getpid()
        self.pid = self._process.pid
        self.clips = 0
        self.busy = False
        """Whether a clip is begun and not ended, so that the child waits for what comes after a slice."""
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
        """Whether the process still runs and was not ended; an ended process may take long to die."""
        return self.end.alive and self._process.poll() is None

    def decode(self, request: list[Any], timeout_s: float, *source: int, most: int | None = None) -> Iterator[Slice]:
        """Decode one clip and yield its slices; see `slices_from_child`.

        Args:
            request: the arguments of `decode_pictures` except `keep`.
            timeout_s: longest time in seconds.
            source: a memfd with the content, if the path in `request` is None.
            most: largest number of pictures of a slice; None to yield the clip as one slice.
        """
        self.clips += 1
        self.busy, left, fps = True, timeout_s, request[3]
        words, files = json.dumps([most, *request]).encode(), source
        try:
            while True:
                file, begun = _take(), time.monotonic()
                reply = self._ask(words, left, timeout_s, file, *files)
                left -= time.monotonic() - begun
                if "error" in reply:
                    _give_back(file)
                    self.busy = False
                    raise error_named(reply["error"])(reply["message"])
                facts = reply["facts"] and SourceFacts(**reply["facts"])
                self.busy = facts is None
                yield Slice(reply["start"], _mapped(file, tuple(reply["shape"])), facts)
                if facts is not None:
                    return
                left += timeout_s * reply["shape"][0] / fps / TIMED_S
                words, files = _MORE, ()
        finally:
            if self.busy:  # whoever asked wants no more
                self.busy = False
                with contextlib.suppress(OSError):
                    self._link.send(_STOP)

    def _ask(self, words: bytes, left: float, timeout_s: float, *files: int) -> dict[str, Any]:
        """Send a message and the memfds, and return the reply; the first memfd is closed if there is none.

        Raises:
            DecodeTimeout: no reply came within `left` seconds; the child is killed.
            DecodeCrash: the child died.
            _Killed: the child was killed from outside.
        """
        try:
            self._link.settimeout(max(left, 0.001))
            socket.send_fds(self._link, [words], files)
            message = self._link.recv(_MESSAGE)
        except TimeoutError:
            os.close(files[0])
            self.busy = False
            self.end()
            raise DecodeTimeout(f"killed after {timeout_s:g} s (ingest.decode_timeout_s)") from None
        except OSError:
            message = b""
        except BaseException:  # Ctrl-C: what the child still sends belongs to no later clip
            os.close(files[0])
            self.end()
            raise
        if not message:
            os.close(files[0])
            self.busy = False
            raise self._post_mortem()
        reply: dict[str, Any] = json.loads(message)
        return reply

    def _post_mortem(self) -> Exception:
        """Return an error that says how the process ended, with the last line that it wrote."""
        killed = False
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it has only closed the socket
            self._process.kill()
            killed = True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
            code = 0
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        words = (
            os.pread(self._log, 4096, max(0, os.fstat(self._log).st_size - 4096)).decode(errors="replace").split("\n")
        )
        last = next((line.strip() for line in reversed(words) if line.strip()), "")
        self.end()
        said = f"the decoding process {'hung' if killed else how}{last and f': {last}'}"
        return _Killed(said) if code == -signal.SIGKILL else DecodeCrash(said)


_children = threading.local()


def _child() -> Child:
    """Return this thread's child; start one if there is none that is free for a clip and this process's own."""
    child: Child | None = getattr(_children, "child", None)
    free = child is not None and not child.busy
    if child is None or not free or child.owner != os.getpid() or child.clips >= CLIPS_A_CHILD or not child.alive:
        if child is not None and free:
            child.end()
        _children.child = child = _started()
    return child


def _started() -> Child:
    """Start a child, and try again if that fails: the machine, not a clip, is the cause.

    Raises:
        ChildError: it has failed `STARTS` times.
    """
    for attempt in range(1, STARTS + 1):
        try:
            return Child()
        except (ChildError, OSError) as error:
            if attempt == STARTS:
                raise ChildError(f"{error}; tried {STARTS} times") from error
            time.sleep(attempt)
    raise AssertionError


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
            most, path, *limits = json.loads(request)
            slices = _Slices(link, files[0], most)
            reply = _answer([path or f"/proc/self/fd/{files[1]}", *limits], slices)
            for file in (slices.file, *files[1:]):
                os.close(file)
            if reply is not None:
                link.send(json.dumps(reply).encode())


class _Stopped(BaseException):
    """The worker wants no more of the clip. No clip's error, so that nothing on the way takes it for one."""


class _Slices:
    """The pictures of a clip on their way to the worker; `keep` is the function that `decode_pictures` takes."""

    def __init__(self, link: socket.socket, file: int, most: int | None) -> None:
        self.file = file
        """The memfd into which the current slice is written."""
        self._link, self._most = link, most
        self._start = self._count = 0
        self._shape: tuple[int, ...] = ()

    def keep(self, position: int, picture: NDArray[np.uint8]) -> None:
        """Write a picture into the slice; if the slice is full, send it and wait for the worker first."""
        if position == 0:  # the beginning, or a new one
            self._start = self._count = 0
        if self._most is None:
            if (position + 1) * picture.nbytes > WHOLE_BYTES:
                height, width = picture.shape[:2]
                raise TooLarge(f"{position} pictures of {width}x{height} take {WHOLE_BYTES >> 30} GiB")
        elif self._count >= max(1, min(self._most, self._most * USUAL_BYTES // picture.nbytes)):
            self._send()
        os.pwrite(self.file, picture.data, self._count * picture.nbytes)
        self._count += 1
        self._shape = picture.shape

    def reply(self, facts: SourceFacts | None) -> dict[str, Any]:
        """Return the message about the current slice."""
        shape = (self._count, *self._shape)
        return {"start": self._start, "shape": shape, "facts": facts and facts.columns()}

    def _send(self) -> None:
        self._link.send(json.dumps(self.reply(None)).encode())
        _, files, _, _ = socket.recv_fds(self._link, _MESSAGE, 1)
        if not files:
            raise _Stopped
        os.close(self.file)
        (self.file,) = files
        self._start, self._count = self._start + self._count, 0


def _answer(request: list[Any], slices: _Slices) -> dict[str, Any] | None:
    """Decode one clip into slices and return the last reply; None if the worker wants no more."""
    try:
        return slices.reply(decode_pictures(*request, keep=slices.keep))
    except _Stopped:
        return None
    except ClipError as error:
        return {"error": type(error).__name__, "message": str(error)[:4096]}
    except MemoryError:
        return {"error": TooLarge.__name__, "message": f"decoding it needs more than {MEMORY >> 30} GiB"}
    except Exception as error:  # PyAV also raises other types; all are errors of this clip
        return {"error": DecodeError.__name__, "message": f"{type(error).__name__}: {error}"[:4096]}


if __name__ == "__main__":
    _serve()
