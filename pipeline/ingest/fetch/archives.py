"""Reading of clips from tar archives, plain or gzipped, in one pass and without unpacking to disk.

Kinetics is published as archives of about a thousand trimmed clips (https://github.com/cvdfoundation/kinetics-dataset);
lists such as `k400_train_path.txt` hold their addresses. WebDataset and video2dataset write archives in which a clip is
several members (`ID.mp4`, `ID.json`, `ID.txt`). Only the members with the extension of a video count. Member names are
only compared with the wanted names and are never used as paths.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from pipeline.catalog.rows import VIDEO_EXTENSIONS
from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import BadRow, ClipError, FileNotFound, TooLarge, UnsafeMember, ZeroByte
from pipeline.ingest.fetch.request import public
from pipeline.ingest.fetch.stores import fetch, files_below, open_source
from pipeline.ingest.fetch.tape import Tape
from pipeline.ingest.fetch.tar import FILE, FOLDER, Header, headers

ENDINGS = (".tar", ".tar.gz", ".tgz")
"""Endings of the names of archives in a folder. The format is detected from an archive's content, not from its name."""


@dataclass(frozen=True)
class Member:
    """A wanted file of an archive.

    Attributes:
        position: number of the members before it, of whatever kind.
        name: path in the archive, for messages.
        stem: last part of the path, without extension.
        content: bytes of the file; None if there is an error.
        error: the reason why the file cannot be used; None if it can.
    """

    position: int
    name: str
    stem: str
    content: bytes | None
    error: ClipError | None = None


def read_archive(uri: str, wanted: Container[str], settings: FetchConfig) -> Iterator[Member]:
    """Yield the wanted members of an archive, in its order, one in memory at a time.

    Args:
        uri: a tar or gzipped tar with any name; see `pipeline.ingest.fetch.stores.open_source`.
        wanted: stems whose content is wanted: `a` for `a.mp4` and `b/a.avi`. A stem may come more than once. Members
            without the extension of a video are skipped, and so are the extra files that macOS makes (`._a.mp4`).
        settings: time limits, number of tries, and largest size of a member and of an archive.

    Yields:
        Members, each with its content or with `UnsafeMember`, `TooLarge` or `ZeroByte`.

    Raises:
        ClipError: the rest of the archive cannot be read: `ArchiveBroken`, or as for `open_source`. Members that were
            yielded before are valid.
    """
    with open_source(uri, settings) as file:
        tape = Tape(file, public(uri), settings.max_archive_gib)
        for position, header in enumerate(headers(tape)):
            stem, _, extension = header.name.rpartition("/")[2].rpartition(".")
            video = extension.lower() in VIDEO_EXTENSIONS and not stem.startswith("._") and header.kind != FOLDER
            if video and stem and stem in wanted:
                yield _member(tape, header, position, stem, settings)


def list_archives(where: str, settings: FetchConfig) -> list[str]:
    """Return the paths or addresses of a data set's archives, in order.

    Args:
        where: an archive; a folder, local or in an object store, whose `.tar`, `.tar.gz` and `.tgz` files at any depth
            are taken; or a `.txt` list of paths and addresses, one per line, where relative ones start from the list's
            folder.
        settings: time limits and number of tries.

    Raises:
        ClipError: there is no archive, or as for `open_source`; `BadRow` if a remote list names a local file.
    """
    if (where.partition("?")[0] if "://" in where else where).endswith(".txt"):
        found = _listed(where, fetch(where, settings).decode("utf-8-sig", errors="replace"))
    elif where.partition("://")[0].lower() in ("http", "https"):
        found = [where]
    elif (below := files_below(where, settings, _is_archive)) is None:
        raise FileNotFound(f"{public(where)}: not there; give an archive, a folder of them or a .txt list of them")
    else:
        found = below
    if not found:
        raise FileNotFound(f"{public(where)}: no archive there; give one, a folder of them or a .txt list of them")
    return list(dict.fromkeys(found))


def _member(tape: Tape, header: Header, position: int, stem: str, settings: FetchConfig) -> Member:
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
    return Member(position, name, stem, None if error else tape.read(header.size), error)


def _listed(where: str, text: str) -> list[str]:
    """Return the paths and addresses in a list."""
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
        parts = urlsplit(where)  # an object store has no parent folders, so `..` is not resolved
        address = urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{quote(line)}"))
    scheme, remote, _ = address.partition("://")
    if (not remote or scheme.lower() == "file") and not where.startswith("file:"):
        raise BadRow(f"{public(where)}: names {public(address)}, a file of this machine; give a list that lies here")
    return address


def _is_archive(path: str) -> bool:
    return path.lower().endswith(ENDINGS) and not path.rpartition("/")[2].startswith(".")
