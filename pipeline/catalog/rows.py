"""The rows of a catalog, which list the clips of a data set before any of them is decoded.

A catalog is a `pyarrow.Table` with the columns of `CATALOG_SCHEMA` and one row per clip, good or bad. A problem with
one clip (impossible times, a missing file) does not raise: its row holds the error, so that one bad clip never stops a
run and is never missing from the report. `clip_id` is unique in a catalog, error rows included.
"""

import difflib
import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

CATALOG_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),  # unique; same on every machine, independent of paths
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.string()),  # null if there is no label
        pa.field("label_id", pa.int32()),  # from 0: place in the published class list, or among the sorted labels
        pa.field("source", pa.string()),  # absolute path, address, or archives:WHERE#STEM; null only with an error
        pa.field("start_s", pa.float64()),  # start of the clip in `source`, seconds; null: the start of `source`
        pa.field("end_s", pa.float64()),  # end of the clip in `source`, seconds; null: the end of `source`
        pa.field("error_class", pa.string()),  # null if the row is good, otherwise one of ERROR_CLASSES
        pa.field("error_message", pa.string()),  # one line: the problem, the file and line, and what to do
    ]
)

ERROR_CLASSES = ("BadRow", "BadTimes", "DuplicateClip", "FileNotFound", "LookupFailed", "VideoGone")

# Extensions of video files; compared in lower case.
VIDEO_EXTENSIONS = frozenset(
    {"3g2", "3gp", "264", "265", "apng", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "h264", "h265", "hevc", "ivf"}
    | {"m1v", "m2p", "m2t", "m2ts", "m2v", "m4v", "mj2", "mjpeg", "mjpg", "mkv", "mk3d", "mov", "mp4", "mpe", "mpeg"}
    | {"mpg", "mpv", "mts", "mxf", "nut", "obu", "ogg", "ogm", "ogv", "ogx", "ps", "qt", "rm", "rmvb", "trp", "ts"}
    | {"vob", "vvc", "webm", "wmv", "wtv", "y4m"}
)

YOUTUBE = "https://www.youtube.com/watch?v="  # followed by an id: the address of a video to fetch
ARCHIVES = "archives:"  # followed by WHERE#STEM: the member named STEM, without extension, of one of the archives WHERE

_NOTES, _CLASSES, _DRAWN = b"notes", b"classes", b"drawn"  # keys in the metadata of a catalog's schema
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))  # zero-width spaces and joiner, which str.split() keeps
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class CatalogError(ValueError):
    """A catalog that cannot be read at all; the message is one line: the problem, the file and line, what to do."""


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


_CLIP_SCHEMA = pa.schema([CATALOG_SCHEMA.field(name) for name in Clip.__annotations__])
_AT_ONCE = 1 << 14  # rows that are objects at the same time


def clip_id(dataset: str, source_id: str, start_s: float | None = None, end_s: float | None = None) -> str:
    """Return the id of a clip, which depends on its content and not on the place of its file.

    `clip_id("kinetics400", "0wR5jVB-WPk", 417, 427)` is `kinetics400.0wR5jVB-WPk.417-427`; without times it is
    `kinetics400.0wR5jVB-WPk`. A source id that is not 1 to 64 letters, digits, `-` and `_` becomes a readable slug and
    16 hexadecimal digits of its SHA-1, so an id is always safe in a path or an address.

    Args:
        dataset: Name of the data set.
        source_id: Name of the video in the data set: a YouTube id, or a path relative to the data set's root.
        start_s: Start in seconds; None if the clip begins where the source begins.
        end_s: End in seconds; None if the clip ends where the source ends.
    """
    name = source_id if _PLAIN.fullmatch(source_id) else _slug(source_id)
    if start_s is None and end_s is None:
        return f"{dataset}.{name}"
    return f"{dataset}.{name}.{_seconds(start_s)}-{_seconds(end_s)}"


def line_id(dataset: str, split: str, line: int) -> str:
    """Return an id for a row without a usable clip, from its line in the list; `~` makes it differ from a `clip_id`."""
    return f"{dataset}.~{split}-line-{line}"


def check_name(what: str, name: str) -> None:
    """Check that a data set or split name can be part of an id, a path or a metric's name.

    Raises:
        CatalogError: the name has other characters than letters, digits, `-` and `_`, or is too long or empty.
    """
    if not isinstance(name, str) or not _PLAIN.fullmatch(name):
        raise CatalogError(f"{what} {name!r}: use 1 to 64 letters, digits, '-' and '_'")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a wrong name: the most similar known name, or all known names if none is similar."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(names)}"


def shown(text: str, most: int = 60) -> str:
    """Make text from outside safe for a one-line message: quoted, escaped, and cut to `most` characters."""
    return ascii(text if len(text) <= most else text[: most - 3] + "...")


def plain_label(label: str) -> str:
    """Return a class name in the form NFC of Unicode, with single plain spaces and without invisible characters.

    Lists that were edited on different machines differ in these, and nobody sees the difference. Case, underscores and
    dashes stay as they are.
    """
    return " ".join(unicodedata.normalize("NFC", label.translate(_INVISIBLE)).split())


def catalog_table(
    dataset: str, clips: Iterable[Clip], classes: Sequence[str] | None = None, notes: Sequence[str] = ()
) -> pa.Table:
    """Number the labels from 0 over all splits, and make the table.

    The labels of error rows are numbered too, so that class numbers depend on the annotations alone and not on which
    videos could be downloaded. Labels get the form of `plain_label`.

    Args:
        dataset: Name of the data set.
        clips: The rows; each is asked for once, and need not stay in memory afterwards.
        classes: All labels in the order of their numbers; None for the sorted labels of `clips`.
        notes: Sentences about the catalog, which `catalog_notes` returns.
    """
    table = pa.Table.from_batches(_batches(clips), _CLIP_SCHEMA)
    spelled = table["label"].unique()
    plain = pa.array([None if name is None else plain_label(name) or None for name in spelled.to_pylist()], pa.string())
    labels = plain.take(pc.index_in(table["label"], value_set=spelled).combine_chunks())
    classes = (
        sorted(plain.drop_null().unique().to_pylist()) if classes is None else [plain_label(name) for name in classes]
    )
    columns = {name: table[name] for name in _CLIP_SCHEMA.names} | {
        "dataset": pa.repeat(pa.scalar(dataset), len(table)),
        "label": labels,
        "label_id": pc.index_in(labels, value_set=pa.array(classes, pa.string())),
    }
    about = {_NOTES: json.dumps(list(notes)), _CLASSES: json.dumps(classes)}
    return pa.table([columns[name] for name in CATALOG_SCHEMA.names], schema=CATALOG_SCHEMA.with_metadata(about))


def _batches(clips: Iterable[Clip]) -> Iterator[pa.RecordBatch]:
    """Turn rows into columns, some thousands at a time, because a column takes a quarter of the memory of its rows."""
    rest = iter(clips)
    while some := list(itertools.islice(rest, _AT_ONCE)):
        columns = [pa.array([getattr(clip, field.name) for clip in some], field.type) for field in _CLIP_SCHEMA]
        yield pa.record_batch(columns, schema=_CLIP_SCHEMA)


def catalog_notes(catalog: pa.Table) -> list[str]:
    """Return a reader's notes on a whole catalog, such as a list of unusual length or the rule for drawing windows."""
    return json.loads((catalog.schema.metadata or {}).get(_NOTES, b"[]"))


def catalog_classes(catalog: pa.Table) -> list[str]:
    """Return all classes in the order of their numbers, including classes without clips in this part of the catalog."""
    return json.loads((catalog.schema.metadata or {}).get(_CLASSES, b"[]"))


def with_split(catalog: pa.Table, splits: Sequence[str], drawn: Mapping[str, Any], notes: Sequence[str]) -> pa.Table:
    """Return the catalog with new, randomly drawn splits.

    Args:
        catalog: The catalog.
        splits: The new split of each row.
        drawn: Settings of the draw, which `drawn_split` returns.
        notes: All notes, which `catalog_notes` returns; they replace the old ones.
    """
    place = catalog.schema.get_field_index("split")
    catalog = catalog.set_column(place, CATALOG_SCHEMA.field("split"), pa.array(splits, pa.string()))
    about = {**(catalog.schema.metadata or {}), _NOTES: json.dumps(list(notes)), _DRAWN: json.dumps(dict(drawn))}
    return catalog.replace_schema_metadata(about)


def with_sources(
    catalog: pa.Table, found: Mapping[str, tuple[str | None, str | None, str | None]], notes: Sequence[str]
) -> pa.Table:
    """Return the catalog with the sources that were found for its videos.

    Args:
        catalog: A catalog in which `source` is an id of a video; rows without one have an error, and stay.
        found: Source, error class and error message of each id.
        notes: All notes, which `catalog_notes` returns; they replace the old ones.
    """
    which = pc.index_in(catalog["source"], value_set=pa.array(found, pa.string())).combine_chunks()
    for number, name in enumerate(("source", "error_class", "error_message")):
        column = pa.array([values[number] for values in found.values()], pa.string()).take(which)
        place = catalog.schema.get_field_index(name)
        kept = column if name == "source" else pc.coalesce(column, catalog[name].combine_chunks())
        catalog = catalog.set_column(place, CATALOG_SCHEMA.field(name), kept)
    return catalog.replace_schema_metadata({**(catalog.schema.metadata or {}), _NOTES: json.dumps(list(notes))})


def drawn_split(catalog: pa.Table) -> dict[str, Any] | None:
    """Return the settings with which the splits were drawn; None if they come with the data set."""
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
