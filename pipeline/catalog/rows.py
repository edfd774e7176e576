"""The catalog row: which clips exist, before a byte of them is decoded.

A catalog is a `pyarrow.Table` with the columns of `CATALOG_SCHEMA`, one row a clip, good or bad. A row that is wrong
for one clip (times that make no sense, a missing file) carries its error instead of raising, so that one bad clip
never stops a run and is never lost from its report; `clip_id` is unique in a catalog, error rows included.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

CATALOG_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),  # unique; same on every machine, whatever the paths
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.string()),  # null where unlabelled
        pa.field("label_id", pa.int32()),  # from 0: place in the published class list, else among the sorted labels
        pa.field("source", pa.string()),  # absolute path, address, or archives:WHERE#STEM; null only with an error
        pa.field("start_s", pa.float64()),  # seconds into `source` to decode from; null: from its start
        pa.field("end_s", pa.float64()),  # seconds into `source` to decode to; null: to its end
        pa.field("error_class", pa.string()),  # null where the row is good, otherwise one of ERROR_CLASSES
        pa.field("error_message", pa.string()),  # one line: what, which file and line, what to do
    ]
)

ERROR_CLASSES = ("BadRow", "BadTimes", "DuplicateClip", "FileNotFound", "LookupFailed", "VideoGone")

# The extensions under which video is met in the wild; compared in lower case.
VIDEO_EXTENSIONS = frozenset(
    {"3gp", "asf", "avi", "flv", "gif", "m2ts", "m4v", "mjpeg", "mkv", "mov", "mp4", "mpeg", "mpg", "mts"}
    | {"ogg", "ogv", "ts", "vob", "webm", "wmv", "y4m"}
)

YOUTUBE = "https://www.youtube.com/watch?v="  # and an id: the address of a video that is to be fetched
ARCHIVES = "archives:"  # and WHERE#STEM: the member of that name, without its extension, in one of the archives WHERE

_NOTES, _CLASSES, _DRAWN = b"notes", b"classes", b"drawn"  # keys in the metadata of a catalog's schema
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class CatalogError(ValueError):
    """A catalog cannot be read at all: one line with what, which file and line, and what to do."""


@dataclass(slots=True)
class Clip:
    """One catalog row before labels are numbered; the fields are the columns of `CATALOG_SCHEMA`."""

    clip_id: str
    split: str
    label: str | None = None
    source: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    error_class: str | None = None
    error_message: str | None = None


def clip_id(dataset: str, source_id: str, start_s: float | None = None, end_s: float | None = None) -> str:
    """Name a clip by what it is, never by where its file lies.

    `clip_id("kinetics400", "0wR5jVB-WPk", 417, 427)` is `kinetics400.0wR5jVB-WPk.417-427`; without times it is
    `kinetics400.0wR5jVB-WPk`. A source id that is not plain (other than letters, digits, `-`, `_`, at most 64)
    becomes a readable slug and 16 hexadecimal digits of its SHA-1, so an id is always safe in a path or an address.

    Args:
        dataset: Name of the data set.
        source_id: Name of the video in the data set: a YouTube id, or a path relative to the data set's root.
        start_s: Start in seconds, None where the clip is the whole source.
        end_s: End in seconds, None likewise.
    """
    name = source_id if _PLAIN.fullmatch(source_id) else _slug(source_id)
    if start_s is None and end_s is None:
        return f"{dataset}.{name}"
    return f"{dataset}.{name}.{_seconds(start_s)}-{_seconds(end_s)}"


def line_id(dataset: str, split: str, line: int) -> str:
    """Name a row that has no usable clip of its own by its place in the list; `~` keeps it apart from `clip_id`s."""
    return f"{dataset}.~{split}-line-{line}"


def check_name(what: str, name: str) -> None:
    """Refuse a data set or split name that could not be part of an id, a path or a metric's name.

    Raises:
        CatalogError: naming what is wrong with it.
    """
    if not isinstance(name, str) or not _PLAIN.fullmatch(name):
        raise CatalogError(f"{what} {name!r}: use 1 to 64 letters, digits, '-' and '_'")


def nearest(name: str, known: Iterable[str]) -> str:
    """Words that lead from a wrong name to the right one: the nearest, or else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(names)}"


def shown(text: str, most: int = 60) -> str:
    """Text from outside as it may stand in a one-line message: quoted, escaped, cut."""
    return ascii(text if len(text) <= most else text[: most - 3] + "...")


def catalog_table(
    dataset: str, clips: list[Clip], classes: Sequence[str] | None = None, notes: Sequence[str] = ()
) -> pa.Table:
    """Number the labels (from 0, over all splits and error rows too) and make the table.

    Labels of rows whose file is missing count, so that class numbers depend on the annotations alone and not on
    which videos could be downloaded.

    Args:
        dataset: Name of the data set.
        clips: The rows.
        classes: Every label in the order of its number; None for the sorted labels of `clips`.
        notes: Sentences for whoever uses the catalog, which `catalog_notes` gives back.
    """
    if classes is None:
        classes = sorted({c.label for c in clips if c.label is not None})
    numbers = {label: number for number, label in enumerate(classes)}
    columns = {
        "clip_id": [c.clip_id for c in clips],
        "dataset": [dataset] * len(clips),
        "split": [c.split for c in clips],
        "label": [c.label for c in clips],
        "label_id": [None if c.label is None else numbers[c.label] for c in clips],
        "source": [c.source for c in clips],
        "start_s": [c.start_s for c in clips],
        "end_s": [c.end_s for c in clips],
        "error_class": [c.error_class for c in clips],
        "error_message": [c.error_message for c in clips],
    }
    about = {_NOTES: json.dumps(list(notes)), _CLASSES: json.dumps(list(classes))}
    return pa.table(columns, schema=CATALOG_SCHEMA.with_metadata(about))


def catalog_notes(catalog: pa.Table) -> list[str]:
    """What a reader has to say of a whole catalog: a list of unusual length, a rule by which windows were drawn."""
    return json.loads((catalog.schema.metadata or {}).get(_NOTES, b"[]"))


def catalog_classes(catalog: pa.Table) -> list[str]:
    """Every class in the order of its number, also those that a part of the catalog has no clip of."""
    return json.loads((catalog.schema.metadata or {}).get(_CLASSES, b"[]"))


def with_split(catalog: pa.Table, splits: Sequence[str], drawn: Mapping[str, Any], notes: Sequence[str]) -> pa.Table:
    """The catalog with splits that were drawn.

    Args:
        catalog: The rows.
        splits: Of each row.
        drawn: How, which `drawn_split` gives back.
        notes: All that `catalog_notes` is to give back.
    """
    place = catalog.schema.get_field_index("split")
    catalog = catalog.set_column(place, CATALOG_SCHEMA.field("split"), pa.array(splits, pa.string()))
    about = {**(catalog.schema.metadata or {}), _NOTES: json.dumps(list(notes)), _DRAWN: json.dumps(dict(drawn))}
    return catalog.replace_schema_metadata(about)


def drawn_split(catalog: pa.Table) -> dict[str, Any] | None:
    """How the splits were drawn; None where they came with the data set."""
    drawn = (catalog.schema.metadata or {}).get(_DRAWN)
    return None if drawn is None else dict(json.loads(drawn))


def _slug(source_id: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", source_id).strip("-")[-40:]
    digest = hashlib.sha1(source_id.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
    return f"{readable}~{digest[:16]}"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if value == int(value) else repr(float(value))
