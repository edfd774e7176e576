"""The rule by which one member of the archives becomes a clip, whatever is read or decoded first.

    1. Only members with the extension of a video count. Sidecars (.json, .txt, .srt, ...) are ignored.
    2. Candidates have an order: first the archives of replacements and then the clip's own archives, each in the order
       of its list; within an archive, the position of the member.
    3. Good beats broken: the clip is the first candidate in this order that passes all stages.
    4. If no candidate is good, the clip fails with the error of the first one.

Archives are read and clips are decoded in parallel, so candidates end in any order. A good candidate is therefore
staged under a name that ends in its rank, and the first name wins (`staging.by_clip`). A failed candidate is not
staged: the driver keeps its error until every archive is read, and stages it only if the clip has no good candidate
then. A later member of a name is not decoded if the first of this name in its archive is good already.
"""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.catalog.rows import ARCHIVES

Row = dict[str, Any]


def rank_of(archive: int, position: int) -> str:
    """Return the rank of a candidate, as text that sorts like the order of candidates.

    Args:
        archive: number of the archive in the list.
        position: number of the member in its archive.
    """
    return f"{archive:07d}-{position:010d}"


def place_of(source: str) -> str:
    """Return WHERE of the source of an archived clip."""
    return source.removeprefix(ARCHIVES).rpartition("#")[0]


def stem_of(source: str) -> str:
    """Return STEM of the source of an archived clip."""
    return source.removeprefix(ARCHIVES).rpartition("#")[2]


class Wanted:
    """Archived clips by the stem of their members.

    The rows are one Arrow table and one array of digests, which all processes of a node share in Ray's object store: a
    dictionary of 650,000 rows would take 800 MB in each process that reads an archive.
    """

    def __init__(self, rows: pa.Table) -> None:
        """Index rows with the column `source`, which must have different stems."""
        stems = [stem_of(source) for source in rows["source"].to_pylist()]
        digests = np.array([_digest(stem) for stem in stems], np.uint64)
        order = np.argsort(digests, kind="stable")
        self._digests = digests[order]
        self._stems = pa.array(stems, pa.string()).take(pa.array(order))
        self._rows = rows.take(pa.array(order)).combine_chunks()

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, stem: object) -> bool:
        return self._find(str(stem)) is not None

    def number(self, stem: str) -> int:
        """Return the number of the row with this stem.

        Raises:
            KeyError: there is none.
        """
        found = self._find(stem)
        if found is None:
            raise KeyError(stem)
        return found

    def row(self, number: int) -> Row:
        """Return the row with this number."""
        return dict(self._rows.slice(number, 1).to_pylist()[0])

    def _find(self, stem: str) -> int | None:
        digest = np.uint64(_digest(stem))
        at = int(np.searchsorted(self._digests, digest))
        while at < len(self._digests) and self._digests[at] == digest:
            if self._stems[at].as_py() == stem:
                return at
            at += 1
        return None


def _digest(stem: str) -> int:
    return int.from_bytes(hashlib.blake2b(stem.encode(), digest_size=8).digest(), "big")
