"""What the page says of the clips, section by section, from the table of clips alone."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cards.charts import Bar, Histogram, Ranking, bars, histogram, ranking

SHOWN = 20
"""Messages of a class of failures, groups of equal videos, pairs of shared ones."""


@dataclass(frozen=True)
class Split:
    """What a split should hold and holds; of the readable clips the seconds, frames and bytes."""

    name: str
    expected: int
    present: int
    seconds: float
    frames: int
    video_bytes: int
    flow_bytes: int


@dataclass(frozen=True)
class Label:
    """A class and its clips."""

    name: str | None
    expected: int
    present: int
    magnitude: float | None
    """Mean length of the flow of its clips, pixels."""


@dataclass(frozen=True)
class Failures:
    """The clips that failed for one reason."""

    error_class: str
    count: int
    messages: list[dict[str, Any]]
    """`clip_id`, `error_message`: the first of them."""


@dataclass(frozen=True)
class Twins:
    """Clips whose video is the same to the bit."""

    clips: list[dict[str, Any]]
    """`clip_id`, `split`, `label`."""
    splits: tuple[str, ...]


def readable(clips: pa.Table) -> pa.Table:
    """The clips that are in the shards."""
    return clips.filter(pc.field("status") == "ok")


def splits(clips: pa.Table) -> list[Split]:
    """Every split by name."""
    seconds = pa.array(_seconds(clips), from_pandas=True)  # null where not known
    sums = {"seconds": seconds} | {name: clips[name] for name in ("num_frames", "video_bytes", "flow_bytes")}
    table = pa.table({"split": clips["split"], "ok": pc.cast(pc.equal(clips["status"], "ok"), pa.int64()), **sums})
    wanted = [("ok", "count"), ("ok", "sum"), *((name, "sum") for name in sums)]
    rows = table.group_by("split").aggregate(wanted).sort_by("split").to_pylist()
    return [
        Split(row["split"], row["ok_count"], row["ok_sum"], *(row[f"{name}_sum"] or 0 for name in sums)) for row in rows
    ]


def labels(clips: pa.Table) -> list[Label]:
    """Every class, the largest first."""
    columns = {name: clips[name] for name in ("label", "flow_magnitude")}
    table = pa.table({**columns, "ok": pc.cast(pc.equal(clips["status"], "ok"), pa.int64())})
    rows = table.group_by("label").aggregate([("ok", "count"), ("ok", "sum"), ("flow_magnitude", "mean")]).to_pylist()
    found = [Label(row["label"], row["ok_count"], row["ok_sum"], row["flow_magnitude_mean"]) for row in rows]
    return sorted(found, key=lambda label: (-label.present, -label.expected, label.name or ""))


def failures(clips: pa.Table) -> list[Failures]:
    """Reasons for which clips failed, the most frequent first."""
    failed = clips.filter(pc.field("status") != "ok").select(["clip_id", "error_class", "error_message"])
    counts = {str(item["values"]): item["counts"] for item in pc.value_counts(failed["error_class"]).to_pylist()}
    kinds = failed["error_class"].cast(pa.string()).fill_null("None")
    return [
        Failures(
            name, counts[name], failed.filter(pc.equal(kinds, name)).sort_by("clip_id").slice(0, SHOWN).to_pylist()
        )
        for name in sorted(counts, key=lambda name: (-counts[name], name))
    ]


def distributions(good: pa.Table) -> list[Histogram | Ranking]:
    """Lengths, sources, sizes and quality of the readable clips."""
    sizes = pc.binary_join_element_wise(
        pc.cast(good["source_width"], pa.string()), pc.cast(good["source_height"], pa.string()), " x "
    )
    rates = pa.array([None if rate is None else f"{rate:.4g} fps" for rate in good["source_fps"].to_pylist()])
    charts = [
        histogram("Duration", "s", _seconds(good)),
        _bytes("Video a clip", good["video_bytes"]),
        _bytes("Flow a clip", good["flow_bytes"]),
        histogram("Worst frame, PSNR", "dB", _values(good["video_psnr"])),
        histogram("Brightness", "of 255", _values(good["brightness"])),
        _ranked("Source size", sizes),
        _ranked("Source rate", rates),
        _ranked("Source codec", good["source_codec"]),
    ]
    return [chart for chart in charts if chart]


def motion(good: pa.Table) -> list[Histogram]:
    """How fast pictures move, and how much of it was cut at the bound."""
    charts = [
        histogram("Mean flow of a clip", "px a frame", _values(good["flow_magnitude"])),
        histogram("Beyond the bound", "% of components", 100 * _values(good["flow_clipped"])),
    ]
    return [chart for chart in charts if chart]


def moving(found: list[Label], most: int = 8) -> list[tuple[str, tuple[Bar, ...]]]:
    """Classes by how much they move: all, or where there are many the least and the most moving."""
    known = [(label.name, label.magnitude) for label in found if label.magnitude is not None]
    ordered = sorted(known, key=lambda pair: (-pair[1], pair[0] or ""))
    if len(ordered) <= 2 * most:
        return [("Classes, most moving first", bars(ordered))] if ordered else []
    every = bars(ordered)
    return [("Most moving classes", every[:most]), ("Least moving classes", every[: -most - 1 : -1])]


def twins(good: pa.Table) -> list[Twins]:
    """Groups of readable clips with the same video; those that cross splits first.

    The same is what has equal packets (`packets_sha256`, where the table has it) or else equal stored bytes: equal
    frames have them, because encoding is reproducible.
    """
    packets = good["packets_sha256"] if "packets_sha256" in good.column_names else pa.nulls(len(good), pa.string())
    table = good.select(["clip_id", "split", "label"]).append_column("key", pc.coalesce(packets, good["video_sha256"]))
    counts = pc.value_counts(table["key"])
    often = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").drop_null()
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in table.filter(pc.is_in(table["key"], often)).sort_by("clip_id").to_pylist():
        groups.setdefault(row.pop("key"), []).append(row)
    found = [Twins(rows, tuple(sorted({row["split"] for row in rows}))) for rows in groups.values()]
    return sorted(found, key=lambda group: (-len(group.splits), -len(group.clips), group.clips[0]["clip_id"]))


def settings(good: pa.Table) -> list[tuple[str, str]]:
    """How the clips were made, as stored with them: names and values."""
    side = pc.min_element_wise(good["height"], good["width"])
    lines = [
        ("Frames", [_several(good["fps"], "{} fps"), _several(side, "short side {} px")]),
        (
            "Video",
            [
                _several(good["video_codec"], "{}"),
                _several(good["video_crf"], "crf {}"),
                _several(good["video_gop"], "key frame every {}"),
                _several(good["video_pixel_format"], "{}"),
            ],
        ),
        ("Flow", [_several(good["flow_version"], "TV-L1, {}"), _several(good["flow_bound"], "bound {} px")]),
        (
            "Flow parameters",
            [_parameters(text) for text in good["flow_parameters"].unique().drop_null().to_pylist()[:3]],
        ),
    ]
    return [(name, "; ".join(filter(None, parts))) for name, parts in lines if any(parts)]


def _several(column: pa.ChunkedArray, text: str) -> str:
    """The values of a column within a text, the most frequent first; empty where there are none."""
    known = sorted(pc.value_counts(column.drop_null()).to_pylist(), key=lambda item: (-item["counts"], item["values"]))
    values = [f"{item['values']:g}" if isinstance(item["values"], float) else str(item["values"]) for item in known]
    more = [f"{len(values) - 3} more"] if len(values) > 3 else []
    return text.format(", ".join([*values[:3], *more])) if values else ""


def _parameters(text: str) -> str:
    """Parameters stored as JSON as plain words; as they are where they are no such thing."""
    try:
        return ", ".join(f"{name.rstrip('_')} {value}" for name, value in json.loads(text).items())
    except (ValueError, AttributeError):
        return text


def _ranked(title: str, column: pa.ChunkedArray) -> Ranking | None:
    known = pc.value_counts(column.drop_null()).to_pylist()
    return ranking(title, [item["values"] for item in known], [item["counts"] for item in known]) if known else None


def _bytes(title: str, column: pa.ChunkedArray) -> Histogram | None:
    values = _values(column)
    large = np.nanmedian(values) >= 1e6 if np.isfinite(values).any() else False
    return histogram(title, "MB" if large else "kB", values / (1e6 if large else 1e3))


def _values(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column as float64, NaN where it is null."""
    return pc.cast(column, pa.float64()).fill_null(np.nan).to_numpy()


def _seconds(clips: pa.Table) -> NDArray[np.float64]:
    rates = _values(clips["fps"])
    return np.divide(_values(clips["num_frames"]), rates, out=np.full(len(clips), np.nan), where=rates > 0)
