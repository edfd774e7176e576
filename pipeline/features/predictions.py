"""Tables of actions from the logits of windows: the likeliest actions of each video, and its timeline.

A prediction is a feature: `pipeline.features.run` computes the logits of every window, and this module reads them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.evaluation.protocols import Average
from pipeline.evaluation.scoring import mean_scores
from pipeline.features.results import TIMES, opened, shapes_in, values_of
from pipeline.features.timeline import Segment, segments, top
from pipeline.shards.manifest import unnamed
from pipeline.shards.tables import write_table
from pipeline.storage import list_files, write_bytes
from pipeline.table import csv_text

ACTIONS, WINDOWS, SEGMENTS = "actions", "windows", "timeline"
DRAWN = 12
"""Videos whose timelines are drawn."""


@dataclass(frozen=True)
class Scored:
    """The windows of one video.

    Attributes:
        video: its path, address or id.
        start_s: (windows,) beginning of each window, in seconds.
        end_s: (windows,) end of each window, in seconds.
        logits: (networks, windows, classes).
    """

    video: str
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    logits: NDArray[np.float32]

    def of_windows(self, average: Average) -> NDArray[np.float64]:
        """Return the probabilities of each window, (windows, classes), averaged over the networks."""
        return _probabilities(mean_scores(self.logits, average))

    def of_video(self, average: Average) -> NDArray[np.float64]:
        """Return the probabilities of the video, (classes,), averaged over windows and networks."""
        return _probabilities(mean_scores(self.logits.reshape(-1, self.logits.shape[-1]), average))


@dataclass(frozen=True)
class Timeline:
    """The segments of one video, to be drawn."""

    video: str
    segments: list[Segment]
    labels: Sequence[str] = ()

    def labelled(self, segment: Segment) -> str:
        """Return the name of a segment's action."""
        return _label(self.labels, segment.action)


@dataclass(frozen=True)
class Asked:
    """What is asked about each video.

    Attributes:
        top_k: number of actions.
        timeline: whether to make timelines.
        least: see `pipeline.features.timeline.segments`.
        average: what is averaged over windows.
        form: csv or parquet.
    """

    top_k: int = 5
    timeline: bool = False
    least: float = 0.0
    average: Average = "softmax"
    form: str = "parquet"


def scored(folder: str) -> Iterator[Scored]:
    """Yield the videos of a run whose layer is `logits`, one after the other.

    Args:
        folder: folder or URI of the run.
    """
    for name in list_files(folder):
        if not name.startswith("_") and name.endswith(".parquet"):
            yield from _videos(f"{folder}/{name}")


def write_predictions(folder: str, features: str, labels: Sequence[str], asked: Asked) -> list[Timeline]:
    """Write the tables of a run.

    Args:
        folder: folder or URI of the tables: `actions`, and with timelines `windows` and `timeline`.
        features: folder or URI of the run that has the logits.
        labels: names of the classes; empty for their numbers.
        asked: what is asked.

    Returns:
        The timelines of the first videos.
    """
    actions, windows, lines, drawn = list[Any](), list[Any](), list[Any](), list[Timeline]()
    for each in scored(features):
        whole = each.of_video(asked.average)
        named = [
            (rank, _label(labels, number), whole[number]) for rank, number in enumerate(top(whole, asked.top_k), 1)
        ]
        actions += [(each.video, *row) for row in named]
        if not asked.timeline:
            continue
        of_windows = each.of_windows(asked.average)
        best = of_windows.argmax(axis=1)
        times = zip(each.start_s, each.end_s, best, of_windows.max(axis=1), strict=True)
        windows += [(each.video, start, end, _label(labels, action), share) for start, end, action, share in times]
        found = segments(of_windows, each.start_s, each.end_s, asked.least)
        lines += [
            (each.video, one.start_s, one.end_s, _label(labels, one.action), one.confidence, one.windows)
            for one in found
        ]
        if len(drawn) < DRAWN:
            drawn.append(Timeline(each.video, found, labels))
    _write(folder, ACTIONS, ("video", "rank", "action", "probability"), actions, asked.form)
    if asked.timeline:
        _write(folder, WINDOWS, ("video", "start_s", "end_s", "action", "confidence"), windows, asked.form)
        names = ("video", "start_s", "end_s", "action", "confidence", "windows")
        _write(folder, SEGMENTS, names, lines, asked.form)
    return drawn


def _videos(uri: str) -> Iterator[Scored]:
    """Yield the videos of a file, whose windows are side by side."""
    parts: list[pa.Table] = []
    with opened(uri) as source, pq.ParquetFile(source) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)  # of one video
            if parts and parts[0]["clip_id"][0] != table["clip_id"][0]:
                yield _scored(pa.concat_tables(parts))
                parts = []
            parts.append(table)
    if parts:
        yield _scored(pa.concat_tables(parts))


def _scored(table: pa.Table) -> Scored:
    logits = np.stack([values_of(table, column) for column in shapes_in(table.schema)])
    start, end = (table[name].to_numpy() for name in TIMES[:2])
    source, clip = table["source"][0].as_py(), table["clip_id"][0].as_py()
    return Scored(clip if source is None or source.startswith("stored:") else source, start, end, logits)


def _write(folder: str, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], form: str) -> None:
    """Write a table in the order of the videos' names, which are the first column."""
    rows = sorted(rows, key=itemgetter(0))  # the rows of one video stay in their order
    if form == "csv":
        write_bytes(f"{folder}/{name}.csv", csv_text([columns, *rows]).encode())
        return
    kinds = {"rank": pa.int32(), "windows": pa.int32(), "video": pa.string(), "action": pa.string()}
    schema = pa.schema([pa.field(column, kinds.get(column, pa.float64())) for column in columns])
    values = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(schema)]
    write_table(pa.table(values, schema=schema), f"{folder}/{name}.parquet")


def _label(labels: Sequence[str], number: int) -> str:
    return labels[number] if labels else unnamed(int(number))


def _probabilities(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = scores.astype(np.float64)
    return np.exp(exact - np.logaddexp.reduce(exact, axis=-1, keepdims=True))
