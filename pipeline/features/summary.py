"""Text that a run prints before it begins, with `--plan`, and at its end."""

import io
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import IngestConfig
from pipeline.escaping import MESSAGE, one_line
from pipeline.features.layers import SPECIAL
from pipeline.features.plan import Wanted
from pipeline.features.predictions import ACTIONS, SEGMENTS, WINDOWS, Timeline
from pipeline.features.results import read_videos
from pipeline.figures.timelines import Bar, timelines
from pipeline.ingest.clip_errors import verdict_of
from pipeline.ingest.estimate import estimate
from pipeline.ingest.run_errors import LostClipsError
from pipeline.ingest.summary import stage_table
from pipeline.masking import masked
from pipeline.storage import write_bytes
from pipeline.table import size, table

SHOWN = 10


@contextmanager
def summarised(folder: str) -> Iterator[None]:
    """Print the text for a finished run before the error that says that too many videos failed."""
    try:
        yield
    except LostClipsError as error:
        print(computed(folder, error.manifest), flush=True)
        raise


def reading(folder: str, manifest: Mapping[str, Any]) -> str:
    """Return a command that reads the features in Python; its strings have the quotes that a shell leaves alone."""
    quoted = partial(json.dumps, ensure_ascii=False)
    column = next(iter(manifest["columns"]))
    if manifest["plan"]["form"] == "parquet":
        columns = quoted(["start_s", column])
        code = f"import pyarrow.dataset as ds; print(ds.dataset({quoted(folder)}).head(5).select({columns}))"
    else:
        videos, column = quoted(f"{folder}/_videos.parquet"), quoted("files")
        code = f"import pyarrow.parquet as pq; print(pq.read_table({videos})[{column}])"
    return f"python -c {shlex.quote(code)}"


def layer_table(shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> str:
    """Return the layers of networks with the shape of each one's output for a window."""
    lines = []
    for network, layers in shapes.items():
        own = [name for name in layers if name not in SPECIAL]
        rows = [("layer", "of a window")]
        rows += [(name, "x".join(map(str, layers[name]))) for name in (*own, *SPECIAL)]
        lines += [f"{network}: channels x time x height x width; --pool mean leaves the channels", table(rows)]
    return "\n".join(lines)


def computed(folder: str, manifest: Mapping[str, Any]) -> str:
    """Return the text for a finished run: clips, windows and columns, failures, and how long each stage took."""
    counts, plan = manifest["videos"], manifest["plan"]
    failed = counts["expected"] - counts["present"]
    rows: list[list[object]] = [["videos", "with features", "failed", "windows", "frames"]]
    rows.append([counts["expected"], counts["present"], failed, manifest["windows"], manifest["frames"]])
    cut = plan["windows"]
    lines = [
        "",
        f"features of {plan['network']['name']}, digest {manifest['digest']}: {folder}",
        table(rows),
        f"  of each window: {_columns(manifest['columns'])}",
        f"  windows of {cut['frames']} frames at stride {cut['stride']}, every {cut['step']} at "
        f"{plan['settings']['fps']} a second; ends: {cut['ends']}",
    ]
    if stages := manifest["rate"].get("stages"):
        lines.append(stage_table(stages))
    lines += [f"  {count} {name} ({verdict_of(name)})" for name, count in counts["failed"].items()]
    if failed:
        videos = read_videos(f"{folder}/_videos.parquet").filter(pc.field("status") == "failed").sort_by("clip_id")
        for row in videos.slice(0, SHOWN).to_pylist():
            message = one_line(row["error_message"], MESSAGE)
            lines.append(f"  failed: {one_line(row['source'] or row['clip_id'])}: {row['error_class']}: {message}")
        if failed > SHOWN:
            lines.append(f"  ... and {failed - SHOWN} more in {folder}/_videos.parquet")
    return masked("\n".join(lines))


def planned(wanted: Wanted, columns: Mapping[str, tuple[int, ...]], ingest: IngestConfig, catalog: pa.Table) -> str:
    """Return the text of a plan: clips, windows and bytes, and what flow and decoding will take.

    Args:
        wanted: what is wanted of each clip.
        columns: shape of each column of a window.
        ingest: the settings of decoding and flow.
        catalog: the clips.
    """
    cost = estimate(ingest, catalog)
    usable = sum(cost.clips.values()) - sum(cost.bad.values())
    frames = cost.seconds * ingest.fps
    windows = max(frames / wanted.windows.step, usable if wanted.windows.ends != "drop" else 0)
    values = sum(_product(shape) for shape in columns.values())
    flow = cost.flow_core_hours
    rows: list[list[object]] = [["videos", "unusable", "hours of video", "windows, about", "to store"]]
    bad = sum(cost.bad.values())
    rows.append([usable + bad, bad, f"{cost.seconds / 3600:,.1f}", f"{windows:,.0f}", size(4 * values * windows)])
    lines = [
        "",
        f"into {ingest.shards}; nothing has been done",
        table(rows),
        f"  of each window: {_columns(columns)}",
        f"  core-hours: {cost.rgb_core_hours / 3:,.2f} decoding, "
        + ("cuda's flow not known yet" if flow is None else f"{flow:,.2f} flow")
        + f", and the networks; there are {os.cpu_count()} cores",
        "  this is an estimate: videos without stated times count as 10 s each",
    ]
    lines += [f"  unusable: {name}: {message}" for name, why in cost.reasons.items() for message in why.messages]
    return masked("\n".join(lines))


def predicted(folder: str, model: str, form: str, drawn: Sequence[Timeline], videos: int) -> str:
    """Draw the timelines, and return the text that says what a prediction has written.

    Args:
        folder: folder or URI of the tables.
        model: the model.
        form: csv or parquet.
        drawn: the timelines of the first videos; none if there are no timelines.
        videos: number of videos that have an answer.
    """
    lines = [f"  model {model}", f"  {folder}/{ACTIONS}.{form}: the likeliest actions of {videos} videos"]
    if drawn:
        lines.append(f"  {folder}/{SEGMENTS}.{form}: what happens when; {WINDOWS}.{form} there: window by window")
        picture = io.BytesIO()
        shown = [(each.video, _bars(each)) for each in drawn]
        more = f", the first {len(drawn)} of {videos} videos" if videos > len(drawn) else ""
        timelines(shown, f"{model}{more}").savefig(picture, format="png", dpi=120)
        write_bytes(f"{folder}/{SEGMENTS}.png", picture.getvalue())
        lines.append(f"  {folder}/{SEGMENTS}.png: the same as a picture{more}")
    return masked("\n".join(lines))


def _bars(timeline: Timeline) -> list[Bar]:
    return [Bar(one.start_s, one.end_s, timeline.labelled(one), one.confidence) for one in timeline.segments]


def _columns(shapes: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
