"""The contents of the page's sections, computed from the table of clips alone."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cards.charts import Bar, Histogram, Ranking, bars, histogram, ranking
from pipeline.shards.source_notes import count_source_notes

SHOWN = 20
"""Most entries shown of each: messages of a failure class, groups of identical videos, pairs of shared videos."""


@dataclass(frozen=True)
class Split:
    """The expected and present clips of a split, and the seconds, frames and bytes of its readable clips."""

    name: str
    expected: int
    present: int
    seconds: float
    frames: int
    video_bytes: int
    flow_bytes: int


@dataclass(frozen=True)
class Label:
    """The clips of one class in numbers."""

    name: str | None
    expected: int
    present: int
    magnitude: float | None
    """Mean length of the flow vectors in its clips, in pixels."""


@dataclass(frozen=True)
class Failures:
    """The clips that failed for one reason."""

    error_class: str
    count: int
    messages: list[dict[str, Any]]
    """The first of these clips, as `clip_id`, `error_class` and `error_message`."""


@dataclass(frozen=True)
class Twins:
    """Clips whose video is identical."""

    clips: list[dict[str, Any]]
    """The clips, as `clip_id`, `split` and `label`."""
    splits: tuple[str, ...]


def readable(clips: pa.Table) -> pa.Table:
    """Return the clips that are in the shards."""
    return clips.filter(pc.field("status") == "ok")


def splits(clips: pa.Table) -> list[Split]:
    """Return all splits in the order of their names."""
    seconds = pa.array(_seconds(clips), from_pandas=True)  # null if unknown
    sums = {"seconds": seconds} | {name: clips[name] for name in ("num_frames", "video_bytes", "flow_bytes")}
    table = pa.table({"split": clips["split"], "ok": pc.cast(pc.equal(clips["status"], "ok"), pa.int64()), **sums})
    wanted = [("ok", "count"), ("ok", "sum"), *((name, "sum") for name in sums)]
    rows = table.group_by("split").aggregate(wanted).sort_by("split").to_pylist()
    return [
        Split(row["split"], row["ok_count"], row["ok_sum"], *(row[f"{name}_sum"] or 0 for name in sums)) for row in rows
    ]


def labels(clips: pa.Table) -> list[Label]:
    """Return all classes, the largest first."""
    columns = {name: clips[name] for name in ("label", "flow_magnitude")}
    table = pa.table({**columns, "ok": pc.cast(pc.equal(clips["status"], "ok"), pa.int64())})
    rows = table.group_by("label").aggregate([("ok", "count"), ("ok", "sum"), ("flow_magnitude", "mean")]).to_pylist()
    found = [Label(row["label"], row["ok_count"], row["ok_sum"], row["flow_magnitude_mean"]) for row in rows]
    return sorted(found, key=lambda label: (-label.present, -label.expected, label.name or ""))


def failures(clips: pa.Table) -> list[Failures]:
    """Return the reasons for which clips failed, the most frequent first."""
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
    """Return charts of lengths, sources, sizes and quality of the readable clips."""
    sizes = pc.binary_join_element_wise(
        pc.cast(good["source_width"], pa.string()), pc.cast(good["source_height"], pa.string()), " x "
    )
    rates: Counter[str] = Counter()
    for item in pc.value_counts(good["source_fps"].drop_null()).to_pylist():
        rates[f"{item['values']:.4g} fps"] += item["counts"]
    charts = [
        histogram("Duration", "s", _seconds(good)),
        _bytes("Video a clip", good["video_bytes"]),
        _bytes("Flow a clip", good["flow_bytes"]),
        histogram("Worst frame, PSNR", "dB", _values(good["video_psnr"])),
        histogram("Brightness", "of 255", _values(good["brightness"])),
        _ranked("Source size", sizes),
        _counted("Source rate", rates),
        _ranked("Source codec", good["source_codec"]),
        _counted("Source notes", count_source_notes(good["source_notes"])),
    ]
    return [chart for chart in charts if chart]


def motion(good: pa.Table) -> list[Histogram]:
    """Return charts of the flow magnitude, and of the share of flow that was clipped at the bound."""
    charts = [
        histogram("Mean flow of a clip", "px a frame", _values(good["flow_magnitude"])),
        histogram("Beyond the bound", "% of components", 100 * _values(good["flow_clipped"])),
    ]
    return [chart for chart in charts if chart]


def moving(found: list[Label], most: int = 8) -> list[tuple[str, tuple[Bar, ...]]]:
    """Return bars of the classes by their motion: all classes, or the most and least moving ones if there are many."""
    known = [(label.name, label.magnitude) for label in found if label.magnitude is not None]
    ordered = sorted(known, key=lambda pair: (-pair[1], pair[0] or ""))
    if len(ordered) <= 2 * most:
        return [("Classes, most moving first", bars(ordered))] if ordered else []
    every = bars(ordered)
    return [("Most moving classes", every[:most]), ("Least moving classes", every[: -most - 1 : -1])]


def twins(good: pa.Table) -> list[Twins]:
    """Return groups of readable clips with the same video; groups across splits come first.

    Videos are the same if their packets are equal (`packets_sha256`). Where that digest is missing, their stored bytes
    are compared instead: equal frames give equal bytes, because encoding is reproducible.
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
    """Return names and values of the settings with which the clips were made, from the columns of the table."""
    side = pc.min_element_wise(good["height"], good["width"])
    method = "{}" if "stored" in good["flow_backend"].unique().to_pylist() else "TV-L1, {}"
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
        ("Flow", [_several(good["flow_version"], method), _several(good["flow_bound"], "bound {} px")]),
        (
            "Flow parameters",
            [_parameters(text) for text in good["flow_parameters"].unique().drop_null().to_pylist()[:3]],
        ),
    ]
    return [(name, "; ".join(filter(None, parts))) for name, parts in lines if any(parts)]


def _several(column: pa.ChunkedArray, text: str) -> str:
    """Format the values of a column, at most three and the most frequent first; empty if there are none."""
    known = sorted(pc.value_counts(column.drop_null()).to_pylist(), key=lambda item: (-item["counts"], item["values"]))
    values = [f"{item['values']:g}" if isinstance(item["values"], float) else str(item["values"]) for item in known]
    more = [f"{len(values) - 3} more"] if len(values) > 3 else []
    return text.format(", ".join([*values[:3], *more])) if values else ""


def _parameters(text: str) -> str:
    """Format parameters stored as a JSON object as plain words; return any other text unchanged."""
    try:
        return ", ".join(f"{name.rstrip('_')} {value}" for name, value in json.loads(text).items())
    except (ValueError, AttributeError):
        return text


def _ranked(title: str, column: pa.ChunkedArray) -> Ranking | None:
    known = pc.value_counts(column.drop_null()).to_pylist()
    return _counted(title, {item["values"]: item["counts"] for item in known})


def _counted(title: str, counts: Mapping[str, int]) -> Ranking | None:
    return ranking(title, list(counts), list(counts.values())) if counts else None


def _bytes(title: str, column: pa.ChunkedArray) -> Histogram | None:
    values = _values(column)
    large = np.nanmedian(values) >= 1e6 if np.isfinite(values).any() else False
    return histogram(title, "MB" if large else "kB", values / (1e6 if large else 1e3))


def _values(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Convert a column to float64, with NaN for null."""
    return pc.cast(column, pa.float64()).fill_null(np.nan).to_numpy()


def _seconds(clips: pa.Table) -> NDArray[np.float64]:
    rates = _values(clips["fps"])
    return np.divide(_values(clips["num_frames"]), rates, out=np.full(len(clips), np.nan), where=rates > 0)
