"""Scores of every clip of a split, stored and read back: no network is needed for another number.

A scores file has one row a clip (`clip_id`, `label`, `label_id`, `STREAM_logits`) and, in the metadata of its schema,
what the rows stand on: split, data digest, missing clips, classes, protocol.
"""

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.evaluation.protocols import Average
from pipeline.evaluation.scoring import mean_scores
from pipeline.shards.tables import read_table, write_table
from pipeline.storage import exists

FUSED = "two_stream"
_METADATA = b"scores"
_LOGITS = "_logits"


class ScoresError(ValueError):
    """Stored scores that are missing, or do not belong together; one line, for the user."""


@dataclass(frozen=True)
class Accuracy:
    """What a set of logits is worth, and on how many clips.

    Attributes:
        top1: share of clips whose label has the highest logit.
        top5: share of clips whose label is among the five highest.
        clips: clips counted.
        missing: clips of the catalog that could not be read, and are not counted.
        digest: the digest of the shard set.
    """

    top1: float
    top5: float
    clips: int
    missing: int
    digest: str

    @property
    def mean(self) -> float:
        """Of top-1 and top-5: what 3D ResNets reports on Kinetics."""
        return (self.top1 + self.top5) / 2

    def __str__(self) -> str:
        missing = f", {self.missing} missing" if self.missing else ""
        return f"top-1 {100 * self.top1:.1f} %, top-5 {100 * self.top5:.1f} % ({self.clips} clips{missing})"


@dataclass(frozen=True)
class Scores:
    """Logits of every clip of a split.

    Attributes:
        split: its name.
        digest: the digest of the shard set.
        missing: clips of the catalog that could not be read.
        labels: class names.
        clip_ids: (clips,).
        targets: (clips,) class of each clip.
        logits: each stream's, (clips, classes) float32; logarithms of mean probabilities where a protocol averages
            these, so that their softmax is the mean.
        protocol: that they come from, in words.
        average: what the fusion averages, logits or probabilities.
        weights: the weights of each stream in the fusion; empty for equal ones.
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
        """The streams, and their mean where there are two or more."""
        if len(self.logits) == 1:
            return dict(self.logits)
        return {**self.logits, FUSED: mean_scores(np.stack(list(self.logits.values())), self.average, self.weights)}

    def accuracy(self, name: str) -> Accuracy:
        """Of a stream, or of `two_stream`."""
        hits = self.hits(name)
        return Accuracy(
            float(hits[:, 0].mean()), float(hits.any(axis=1).mean()), len(self.targets), self.missing, self.digest
        )

    def hits(self, name: str) -> NDArray[np.bool_]:
        """(clips, 5): whether the label is the first, second, ... most likely class; the first of equals counts."""
        order = np.argsort(-self.all_logits[name], axis=1, kind="stable")
        return order[:, :5] == self.targets[:, None]

    def confusion(self, name: str) -> NDArray[np.int64]:
        """(classes, classes) counts: true class by predicted class."""
        matrix = np.zeros((len(self.labels),) * 2, np.int64)
        np.add.at(matrix, (self.targets, self.all_logits[name].argmax(axis=1)), 1)
        return matrix

    def table(self) -> pa.Table:
        """One row a clip, to be stored: what another fusion or another metric needs."""
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
    """Read what `write_scores` stored.

    Args:
        uri: the URI of the file, or of the folder with its `scores.parquet`.

    Raises:
        ScoresError: there is no such file, or it holds something else.
    """
    path = uri if uri.endswith(".parquet") else f"{uri.rstrip('/')}/scores.parquet"
    if not exists(path):
        raise ScoresError(f"{path}: no such file; the command evaluate writes one")
    try:
        table = read_table(path)
    except pa.ArrowException as error:
        raise ScoresError(f"{path}: not Parquet: {' '.join(str(error).split())}") from None
    about = (table.schema.metadata or {}).get(_METADATA)
    if about is None:
        raise ScoresError(f"{path}: does not say which data its scores stand on; write it anew by the command evaluate")
    values = json.loads(about)
    streams = [name.removesuffix(_LOGITS) for name in table.column_names if name.endswith(_LOGITS)]
    return Scores(
        **{**values, "labels": tuple(values["labels"]), "weights": tuple(values["weights"])},
        clip_ids=table["clip_id"].to_numpy(zero_copy_only=False).astype(str),
        targets=table["label_id"].to_numpy(),
        logits={stream: np.stack(table[f"{stream}{_LOGITS}"].to_numpy(zero_copy_only=False)) for stream in streams},
    )
