"""Comparison of classes by name, because class numbers differ from one data set to another."""

import difflib
import re
import unicodedata
from collections.abc import Sequence

from pipeline.escaping import NAME, cut

SHOWN = 3


def other_classes(known: Sequence[str], wanted: Sequence[str]) -> str:
    """Say how the classes of a network differ from those of the data, as part of a sentence."""
    new = [name for name in wanted if name not in set(known)]
    gone = [name for name in known if name not in set(wanted)]
    if not new:
        return f"{some(gone)} of its {len(known)} classes {'is' if len(gone) == 1 else 'are'} not in the data"
    return f"it does not know {some(new, gone)} of the {len(wanted)} classes of the data"


def some(names: Sequence[str], beside: Sequence[str] = (), most: int = SHOWN) -> str:
    """List the first few names and how many more there are, each with its nearly equal spelling in `beside`, if any."""
    shown = [f"{cut(name, NAME)!r}{_alike(name, beside)}" for name in names[:most]]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    *first, last = [*shown, *more]
    return f"{', '.join(first)} and {last}" if first else last


def _alike(name: str, beside: Sequence[str]) -> str:
    plain = {_plain(each): each for each in beside}
    near = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.85)
    return f" (near {cut(plain[near[0]], NAME)!r})" if near else ""


def _plain(name: str) -> str:
    """Remove the differences between spellings: case, encoding of accents, underscores, dashes and spaces."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()
