"""Compilation by Numba once per machine: later processes load what one process has compiled.

Numba's own cache checks only one source file. It also keeps an index beside its data, and two processes may write them
in an order that pairs the index with older code. Here a file contains one function, for one version of these sources,
of the libraries and of the processor; it is renamed into place when complete and contains its own digest.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching, compiler, serialize
from numba.misc.appdirs import AppDirs

inlined = numba.njit(nogil=True)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called, or load it from the cache; it runs without Python's global lock."""
    dispatcher = numba.njit(nogil=True)(function)
    dispatcher._cache = _Cache(function.__name__)
    return dispatcher


class _Cache(caching.NullCache):
    """Cache that Numba asks for a function before it compiles it, and to which it passes the result afterwards."""

    def __init__(self, name: str) -> None:
        self._name = name

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None if there is none or it is damaged."""
        target_context.refresh()
        for folder in _folders():
            with contextlib.suppress(Exception):  # after any error the function is compiled again
                content = self._file(folder, sig, target_context.codegen()).read_bytes()
                digest, payload = content[:32], content[32:]
                if hashlib.sha256(payload).digest() == digest:
                    return compiler.CompileResult._rebuild(target_context, *pickle.loads(payload))  # noqa: S301
        return None

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Store the compiled function in the first writable folder; without one the next process compiles again."""
        payload = serialize.dumps(cres._reduce())
        for folder in _folders():
            with contextlib.suppress(OSError):
                file = self._file(folder, sig, cres.codegen)
                with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
                    part.write(hashlib.sha256(payload).digest() + payload)
                Path(part.name).replace(file)
                return

    def _file(self, folder: Path, sig: Any, codegen: Any) -> Path:
        identity = repr((_sources(), sig, codegen.magic_tuple()))
        return folder / f"{self._name}-{hashlib.sha256(identity.encode()).hexdigest()[:24]}.kernel"


@functools.cache
def _sources() -> str:
    """Return a digest of everything that compiled code depends on, except the processor."""
    digest = hashlib.sha256(repr((numba.__version__, llvmlite.__version__, np.__version__, sys.version)).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _folders() -> Iterator[Path]:
    """Yield the usable cache folders: Numba's if set, the user's cache, a temporary one.

    They belong to this user and nobody else can write to them, because the code loaded from them is trusted.
    """
    name = "video-action-pipeline"
    home = AppDirs(appname=name, appauthor=False).user_cache_dir
    for place in (numba.config.CACHE_DIR, home, Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"):
        if not place:
            continue
        folder = Path(place)
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
            if status.st_uid == os.getuid() and not status.st_mode & 0o022:
                yield folder
