"""Reading of the headers of a tar archive (ustar, GNU or pax) one after another, with bounded memory and in number.

Python's `tarfile` parses the header blocks. This module goes through the blocks itself, because `tarfile` keeps every
header, reads extended headers of any size into memory and treats damage in the middle of an archive as its end.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.ingest.fetch.tape import Tape

BLOCK = tarfile.BLOCKSIZE
LARGEST_HEADER = 1 << 20
"""Largest number of bytes of an extended header, which holds long names and attributes."""

MOST_PADDING = 64 << 20
"""Largest number of zero bytes in a row that are skipped. They are skipped to read several archives in one file."""

MOST_HEADERS = 10_000_000
"""Largest number of headers of one archive: fifteen times as many as the largest Kinetics has clips."""

MOST_EXTENDED = 16
"""Largest number of extended headers in front of one member; tar writes four at most."""

MOST_SPARSE_BLOCKS = 1 << 12
"""Largest number of extra blocks in which GNU tar may list the parts of one sparse file."""

FILE, FOLDER = "a file", "a folder"

_ZEROS = bytes(BLOCK)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_SAID = ("path", "size")  # records of a pax header that are kept; of the others only that the file is sparse
_SPARSE = "GNU.sparse."
_EMPTY = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_KINDS = {
    tarfile.REGTYPE: FILE, tarfile.AREGTYPE: FILE, tarfile.CONTTYPE: FILE, tarfile.DIRTYPE: FOLDER,
    tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a symbolic link", tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """A member of an archive as described by its header.

    Attributes:
        name: path; bytes that are not UTF-8 are replaced by U+FFFD.
        size: number of bytes of content that follow.
        kind: `FILE`, `FOLDER`, or other words that say what it is.
    """

    name: str
    size: int
    kind: str


def headers(tape: Tape) -> Iterator[Header]:
    """Yield every member in turn; the caller may read its content from the tape before it takes the next.

    Raises:
        ArchiveBroken: the file is not a tar archive, is damaged, ends without an end mark, or has too many headers.
    """
    padding = count = extended = 0
    said: dict[str, str] = {}  # what extended headers state about the next member
    while block := tape.read_block(BLOCK):
        padding = padding + BLOCK if block == _ZEROS else 0
        if padding > MOST_PADDING:
            raise tape.broken("nothing but zeros")
        if padding:
            continue
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except tarfile.HeaderError as error:
            what = f"no tar archive, begins with {block[:8]!r}" if tape.position == BLOCK else f"damaged ({error})"
            raise tape.broken(what) from None
        count, extended = count + 1, extended + 1 if info.type in _EXTENDED else 0
        if count > MOST_HEADERS:
            raise tape.broken(f"more than {MOST_HEADERS:,} members")
        if extended > MOST_EXTENDED:
            raise tape.broken(f"more than {MOST_EXTENDED} extended headers for one member")
        if extended:
            said |= _said(tape, info)
            continue
        size = _number(tape, said["size"]) if "size" in said else info.size
        size = 0 if info.type in _EMPTY or info.isdir() else size
        if size < 0:
            raise tape.broken("a member of negative size")
        sparse = _SPARSE in said or info.type == tarfile.GNUTYPE_SPARSE
        if info.type == tarfile.GNUTYPE_SPARSE:
            _skip_sparse_map(tape, block)
        end = tape.position + size
        kind = "a sparse file" if sparse else _KINDS.get(info.type, "neither file nor folder")
        yield Header(said.get("path", info.name), size, kind)
        tape.skip(end - tape.position + -size % BLOCK)
        said = {}
    if not padding:
        raise tape.broken("cut short: no mark of its end")


def _said(tape: Tape, info: tarfile.TarInfo) -> dict[str, str]:
    """Return what an extended header states about the next member; global headers and link targets are ignored."""
    if not 0 <= info.size <= LARGEST_HEADER:
        raise tape.broken(f"a header of {info.size:,} bytes")
    content = tape.read(info.size)
    tape.skip(-info.size % BLOCK)
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.partition(b"\0")[0].decode(errors="replace")}
    return _records(tape, content) if info.type in _PAX else {}


def _records(tape: Tape, content: bytes) -> dict[str, str]:
    """Return the records of a pax header that matter here.

    A record (POSIX.1-2001) is its length, a space, a key, "=", a value and a newline.
    """
    records, at = {}, 0
    while at < len(content):
        digits = content[at : at + 8].partition(b" ")[0]
        end = at + _number(tape, digits.decode(errors="replace"))
        key, equals, value = content[at + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or not at < end <= len(content):
            raise tape.broken("damaged (a pax record)")
        name = key.decode(errors="replace")
        if name in _SAID or name.startswith(_SPARSE):
            records[_SPARSE if name.startswith(_SPARSE) else name] = value.decode(errors="replace")
        at = end
    return records


def _number(tape: Tape, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise tape.broken("damaged (a number of a pax header)")
    return int(text)


def _skip_sparse_map(tape: Tape, block: bytes) -> None:
    """Skip the extra blocks in which GNU tar lists the parts of a sparse file in the old format."""
    more, blocks = block[482], 0
    while more:
        more, blocks = tape.read(BLOCK)[504], blocks + 1
        if blocks > MOST_SPARSE_BLOCKS:
            raise tape.broken("a sparse file of too many parts")
