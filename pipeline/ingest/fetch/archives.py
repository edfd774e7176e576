"""Clips out of tar archives, plain or gzipped, in one pass and without unpacking to disk.

Kinetics is published as archives of some thousand trimmed clips each (https://github.com/cvdfoundation/kinetics-dataset);
their addresses stand in lists such as `k400_train_path.txt`. Names of members are looked up among the wanted ones and
never become paths.
"""

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import pyarrow.fs as pafs

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import BadRow, ClipError, FileNotFound, TooLarge, UnsafeMember, ZeroByte
from pipeline.ingest.fetch.request import public
from pipeline.ingest.fetch.stores import fetch, in_time, meaning, open_source, patience_s
from pipeline.ingest.fetch.tape import Tape
from pipeline.ingest.fetch.tar import FILE, FOLDER, Header, headers
from pipeline.storage import open_store

ENDINGS = (".tar", ".tar.gz", ".tgz")
"""Of the names of archives in a folder; what an archive is shows in its content."""


@dataclass(frozen=True)
class Member:
    """A wanted file of an archive.

    Attributes:
        name: Its path in the archive, for messages.
        stem: The path's last part without extension.
        content: Its bytes; None where there is an error.
        error: Why it cannot be used.
    """

    name: str
    stem: str
    content: bytes | None
    error: ClipError | None = None


def read_archive(uri: str, wanted: Container[str], settings: FetchConfig) -> Iterator[Member]:
    """The wanted members of an archive, in its order, one in memory at a time.

    Args:
        uri: tar or gzipped tar, whatever its name; see `pipeline.ingest.fetch.stores.open_source`.
        wanted: stems whose content is wanted. Extensions do not count, so `a.mp4` and `a.json` both are `a`, and a stem
            may come more than once. Twins that macOS makes (`._a.mp4`) are passed over.
        settings: how patient to be, and how large a member may be.

    Yields:
        Members, each with its content or with `UnsafeMember`, `TooLarge` or `ZeroByte`.

    Raises:
        ClipError: the archive does not go on: `ArchiveBroken`, or as `open_source`. Members yielded before are good.
    """
    with open_source(uri, settings) as file:
        tape = Tape(file, public(uri))
        for header in headers(tape):
            last = header.name.rpartition("/")[2]
            stem = last.rpartition(".")[0] or last
            if header.kind != FOLDER and stem in wanted and not last.startswith("._"):
                yield _member(tape, header, stem, settings)


def list_archives(where: str, settings: FetchConfig) -> list[str]:
    """The archives of a data set, in order.

    Args:
        where: an archive; a folder, local or of an object store, whose `.tar`, `.tar.gz` and `.tgz` files at any depth
            are meant; or a `.txt` list of paths and addresses, one a line, relative ones beginning where the list lies.
        settings: how patient to be.

    Raises:
        ClipError: there is none, or as `open_source`; `BadRow` where a list from elsewhere names a local file.
    """
    if (where.partition("?")[0] if "://" in where else where).endswith(".txt"):
        found = _listed(where, fetch(where, settings).decode("utf-8-sig", errors="replace"))
    elif where.partition("://")[0].lower() in ("http", "https"):
        found = [where]
    else:
        found = _below(where, settings)
    if not found:
        raise FileNotFound(f"{public(where)}: no archive there; give one, a folder of them or a .txt list of them")
    return list(dict.fromkeys(found))


def _member(tape: Tape, header: Header, stem: str, settings: FetchConfig) -> Member:
    name, where = public(header.name), f"{public(header.name)} in {tape.name}"
    error: ClipError | None = None
    if header.kind != FILE:
        error = UnsafeMember(f"{where}: {header.kind}, not a plain file")
    elif header.name.startswith("/") or ".." in header.name.split("/"):
        error = UnsafeMember(f"{where}: a name that points out of the archive")
    elif header.size > settings.max_mib << 20:
        error = TooLarge(f"{where}: {header.size:,} bytes, more than {settings.max_mib} MiB (ingest.fetch.max_mib)")
    elif not header.size:
        error = ZeroByte(f"{where}: nothing is in it; take another source")
    return Member(name, stem, None if error else tape.read(header.size), error)


def _listed(where: str, text: str) -> list[str]:
    """The addresses of a list."""
    lines = [line.strip() for line in text.splitlines()]
    return [_absolute(where, line) for line in lines if line and not line.startswith("#")]


def _absolute(where: str, line: str) -> str:
    if "://" not in where:
        return line if "://" in line else str(Path(where).parent / line)
    if "://" in line:
        address = line
    elif urlsplit(where).scheme in ("http", "https"):
        address = urljoin(where, line)
    else:
        parts = urlsplit(where)  # an object store has no folders to go up in
        address = urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{quote(line)}"))
    scheme, remote, _ = address.partition("://")
    if (not remote or scheme.lower() == "file") and not where.startswith("file:"):
        raise BadRow(f"{public(where)}: names {public(address)}, a file of this machine; give a list that lies here")
    return address


def _below(where: str, settings: FetchConfig) -> list[str]:
    """The archives of a folder, or the archive itself."""
    local = "://" not in where
    try:
        root, files = _look(where) if local else in_time(lambda: _look(where), patience_s(settings))
    except (OSError, ValueError, NotImplementedError) as error:
        raise meaning(error, where, local) from None
    if files is None:
        return [where]
    if local:
        return files
    parts = urlsplit(where)
    return [urlunsplit(parts._replace(path=parts.path.rstrip("/") + quote(file[len(root) :]))) for file in files]


def _look(where: str) -> tuple[str, list[str] | None]:
    """A folder's path in its store and those of its archives, sorted; None where it is a file itself."""
    store, path = open_store(where)
    kind = store.get_file_info(path).type
    if kind == pafs.FileType.NotFound:
        raise FileNotFound(f"{public(where)}: not there; give an archive, a folder of them or a .txt list of them")
    files = sorted(filter(_is_archive, _files(store, path))) if kind == pafs.FileType.Directory else None
    return path.rstrip("/"), files


def _files(store: pafs.FileSystem, folder: str) -> Iterator[str]:
    """Every file below a folder; links to folders, which may lead in a circle, are not followed."""
    if isinstance(store, pafs.LocalFileSystem):
        for where, _, names in os.walk(folder, onerror=_fail):
            yield from (f"{where}/{name}" for name in names)
    else:
        below = store.get_file_info(pafs.FileSelector(folder, recursive=True))
        yield from (info.path for info in below if info.type == pafs.FileType.File)


def _fail(error: OSError) -> None:
    raise error


def _is_archive(path: str) -> bool:
    return path.lower().endswith(ENDINGS) and not path.rpartition("/")[2].startswith(".")
