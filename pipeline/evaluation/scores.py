"""Scores of every clip of a split, and their storage, so that further metrics need no network.

A scores file has one row per clip (`clip_id`, `label`, `label_id`, `STREAM_logits`). The metadata of its schema hold
the split, data digest, number of missing clips, classes, protocol and fusion.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from pipeline.evaluation.protocols import Average
from pipeline.evaluation.scoring import mean_scores
from pipeline.shards.limits import MAX_CLASSES, NAME
from pipeline.shards.tables import ShardError, column_names, read_table, write_table
from pipeline.storage import exists

FUSED = "two_stream"
MOST_STREAMS = 64
"""Streams that one file may have; a fusion of fusions has some."""
_METADATA = b"scores"
_LOGITS = "_logits"
_STREAM = re.compile(rf"[a-z0-9_]{{1,64}}{_LOGITS}", re.ASCII)
_COLUMNS = (pa.field("clip_id", pa.string()), pa.field("label", pa.string()), pa.field("label_id", pa.int64()))


class _About(BaseModel):
    """The metadata of a scores file."""

    model_config = ConfigDict(extra="forbid")

    split: Annotated[str, Field(pattern=NAME)]
    digest: Annotated[str, Field(pattern="^[0-9a-z]{1,64}$")]
    missing: NonNegativeInt
    labels: Annotated[tuple[str, ...], Field(max_length=MAX_CLASSES)]
    protocol: Annotated[str, Field(max_length=1000)]
    average: Average
    weights: tuple[float, ...]


class ScoresError(ValueError):
    """Stored scores are missing or do not belong together; the message is one line for the user."""


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a set of logits, and the number of clips on which it was measured.

    Attributes:
        top1: share of clips whose label has the highest logit.
        top5: share of clips whose label is among the five highest.
        clips: number of clips counted.
        missing: number of clips of the catalog that could not be read and are not counted.
        digest: digest of the shard set.
    """

    top1: float
    top5: float
    clips: int
    missing: int
    digest: str

    @property
    def mean(self) -> float:
        """Mean of top-1 and top-5, which the 3D ResNets paper reports on Kinetics."""
        return (self.top1 + self.top5) / 2

    def __str__(self) -> str:
        missing = f", {self.missing} missing" if self.missing else ""
        return f"top-1 {100 * self.top1:.1f} %, top-5 {100 * self.top5:.1f} % ({self.clips} clips{missing})"


@dataclass(frozen=True)
class Scores:
    """Logits of every clip of a split.

    Attributes:
        split: name of the split.
        digest: digest of the shard set.
        missing: number of clips of the catalog that could not be read.
        labels: class names in the order of the logits.
        clip_ids: (clips,) id of each clip.
        targets: (clips,) class of each clip.
        logits: (clips, classes) float32 of each stream. If the protocol averages probabilities, these are the
            logarithms of the mean probabilities, so that their softmax is the mean.
        protocol: description of the test protocol.
        average: what the fusion averages: logits or softmax.
        weights: weight of each stream in the fusion; empty for equal weights.
    """

    split: str
    digest: str
    missing: int
    labels: tuple[str, ...]
    clip_ids: NDArray[np.str_]
    targets: NDArray[np.int64]
    logits: dict[str, NDArray[np.float32]]
    protocol: str = ""
    average: Average = "logits"
    weights: tuple[float, ...] = ()

    @cached_property
    def all_logits(self) -> dict[str, NDArray[np.float32]]:
        """Logits of each stream, and of their fusion, `two_stream`, if there are two or more."""
        if len(self.logits) == 1:
            return dict(self.logits)
        return {**self.logits, FUSED: mean_scores(np.stack(list(self.logits.values())), self.average, self.weights)}

    def accuracy(self, name: str) -> Accuracy:
        """Compute the accuracy of a stream, or of `two_stream`."""
        hits = self.hits(name)
        return Accuracy(
            float(hits[:, 0].mean()), float(hits.any(axis=1).mean()), len(self.targets), self.missing, self.digest
        )

    def hits(self, name: str) -> NDArray[np.bool_]:
        """Return whether the label is the first, ..., fifth likeliest class, (clips, 5); ties keep class order."""
        order = np.argsort(-self.all_logits[name], axis=1, kind="stable")
        return order[:, :5] == self.targets[:, None]

    def confusion(self, name: str) -> NDArray[np.int64]:
        """Count the clips of each true class by predicted class, (classes, classes)."""
        matrix = np.zeros((len(self.labels),) * 2, np.int64)
        np.add.at(matrix, (self.targets, self.all_logits[name].argmax(axis=1)), 1)
        return matrix

    def table(self) -> pa.Table:
        """Convert to a table with one row per clip, which holds all that another fusion or metric needs."""
        rows = pa.table(
            {
                "clip_id": self.clip_ids,
                "label": np.array(self.labels)[self.targets],
                "label_id": self.targets,
                **{f"{stream}{_LOGITS}": list(logits) for stream, logits in self.logits.items()},
            }
        )
        names = ("split", "digest", "missing", "labels", "protocol", "average", "weights")
        return rows.replace_schema_metadata({_METADATA: json.dumps({name: getattr(self, name) for name in names})})


def write_scores(scores: Scores, uri: str) -> None:
    """Store scores as a Parquet file."""
    write_table(scores.table(), uri)


def read_scores(uri: str) -> Scores:
    """Read scores that `write_scores` stored.

    Args:
        uri: URI of the file, or of the folder with a `scores.parquet`.

    Raises:
        ScoresError: the file does not exist, or it does not hold scores; no column of another type is read.
    """
    path = uri if uri.endswith(".parquet") else f"{uri.rstrip('/')}/scores.parquet"
    if not exists(path):
        raise ScoresError(f"{path}: no such file; the command evaluate writes one")
    try:
        streams = [name.removesuffix(_LOGITS) for name in column_names(path) if _STREAM.fullmatch(name)][:MOST_STREAMS]
        logits = [pa.field(f"{stream}{_LOGITS}", pa.list_(pa.float32())) for stream in streams]
        table = read_table(path, pa.schema([*_COLUMNS, *logits]))
    except ShardError as error:
        raise ScoresError(str(error)) from None
    about = (table.schema.metadata or {}).get(_METADATA)
    if about is None:
        raise ScoresError(f"{path}: does not say which data its scores stand on; write it anew by the command evaluate")
    try:
        return _scores(_About.model_validate_json(about), table, streams)
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ScoresError(f"{path}: {reason}; write it anew by the command evaluate") from None


def _scores(about: "_About", table: pa.Table, streams: Sequence[str]) -> Scores:
    """Make scores of a table whose columns have the right types.

    Raises:
        ValueError: its values do not fit together.
    """
    names = [
        *(field.name for field in _COLUMNS if field.name != "label"),
        *(f"{stream}{_LOGITS}" for stream in streams),
    ]
    if not streams or not len(table):
        raise ValueError("no scores in it")
    if missing := [name for name in names if name not in table.column_names or table[name].null_count]:
        raise ValueError(f"{', '.join(missing)} missing, or not in every row")
    targets, logits = table["label_id"].to_numpy(), {}
    for stream in streams:
        column = table[f"{stream}{_LOGITS}"].combine_chunks()
        if pc.any(pc.not_equal(pc.list_value_length(column), len(about.labels))).as_py():
            raise ValueError(f"{stream} has not one score for each of the {len(about.labels)} classes")
        logits[stream] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), len(about.labels))
        if not np.isfinite(logits[stream]).all():
            raise ValueError(f"{stream} has scores that are not finite")
    if targets.min() < 0 or targets.max() >= len(about.labels):
        raise ValueError(f"a label_id that is none of the {len(about.labels)} classes")
    return Scores(
        **about.model_dump(), clip_ids=table["clip_id"].to_numpy(zero_copy_only=False).astype(str), targets=targets,
        logits=logits,
    )  # fmt: skip
