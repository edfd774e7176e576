"""The loader of clips: tasks in the cluster decode one batch each, and a worker receives them in order as torch uint8.

The tasks are plain Ray tasks, of which a few run ahead of use. Ray Data is not used here, because its executor checks
ten times a second, in a thread of the training worker, whether a task has ended: half of two cores stood idle, and the
checks took a seventh of the worker's time. Its `streaming_split` drops remainder rows and hands batches to ranks in the
order of arrival, so that neither an exact evaluation nor a repeatable training could be built on it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from pipeline.clips.decoding import Decoder, Sampler
from pipeline.clips.index import ClipIndex
from pipeline.clips.normalise import Planes
from pipeline.clips.order import Batches
from pipeline.clips.planes import columns
from pipeline.clips.stored_clips import StoredClips

AHEAD = 4  # batches that may wait to be used, in addition to those that are being decoded
STORE = 0.5  # share of the cluster's object store that batches may take


@dataclass(frozen=True)
class Batch:
    """Windows of some clips; those from a loader are in shared memory and must not be written to.

    Attributes:
        windows: for each stream, (N, T, H, W, C) uint8 or, for RGB, `Planes`; flow is in quantised levels. `normalise`
            takes both forms.
        labels: (N,) int64, -1 where unlabelled.
        rows: (N,) int64, positions in the `ClipIndex`.
    """

    windows: Mapping[str, torch.Tensor | Planes]
    labels: torch.Tensor
    rows: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, decoded: Mapping[str, NDArray]) -> "Batch":
        """Build a batch from the columns of a `Decoder` and `labels`, without a copy."""
        tensors = {name: torch.from_numpy(column) for name, column in decoded.items()}
        labels, rows = tensors.pop("labels"), tensors.pop("rows")
        return cls(_windows(tensors), labels, rows)


def shared(indices: Iterable[ClipIndex]) -> Any:
    """Put indices into Ray's object store, and return a reference to their list, for the other processes of the job.

    These share the arrays. The indices that they get know where decoding tasks find what they need of them, so that no
    process puts it there again.
    """
    return ray.put([replace(index, reference=ray.put(index.stored())) for index in indices])


def load_batches(
    index: ClipIndex, streams: tuple[str, ...], batches: Batches, sample: Sampler, cpus: float, share: float = 1.0
) -> Iterator[Batch]:
    """Decode batches ahead of their use.

    Args:
        index: the clips.
        streams: the streams to decode: `rgb`, `flow` or both; `frames` and `rgb` for supervision transfer.
        batches: rows of each batch, in the order in which the batches are yielded.
        sample: decodes one window; it is pickled and sent to the tasks.
        cpus: CPUs that a decoding task reserves.
        share: part of the cluster's CPUs and object store that this loader may use, so that the loaders of several
            ranks do not crowd each other out.

    Yields:
        One `Batch` for every element of `batches`.

    Raises:
        Exception: `sample` raised it; if it raised in several batches, the exception of the first batch.
    """
    if not batches:
        return
    cluster = ray.cluster_resources()
    at_once = max(1, int(share * cluster.get("CPU", 1) / cpus))
    memory = share * STORE * cluster.get("object_store_memory", 2e9)
    stored, sample = index.reference or ray.put(index.stored(streams)), ray.put(sample)
    # "DEFAULT": the tasks run anywhere, and not on the CPUs that are reserved for the calling worker.
    submit = ray.remote(_decode).options(num_cpus=cpus, scheduling_strategy="DEFAULT").remote
    coming = (submit(stored, streams, sample, rows) for rows in batches)
    pending = deque[Any](islice(coming, at_once))
    # A loader that is closed early lets what is pending end. `ray.cancel` would end this process where a task that is
    # cancelled has just finished (ray-project/ray#54527, seen with Ray 2.60).
    while pending:
        decoded = _get(pending[0])
        pending.popleft()
        size = sum(column.nbytes for column in decoded.values())
        ahead = min(at_once + AHEAD, max(1, int(memory / size)))
        pending.extend(islice(coming, max(0, ahead - len(pending))))
        yield Batch.of({**decoded, "labels": index.label[decoded["rows"]]})


def windows_of(index: ClipIndex, rows: Iterable[int], stream: str, sample: Sampler) -> torch.Tensor | Planes:
    """Decode the windows of some clips in this process."""
    tables = columns(stream, [sample(index, int(row), stream) for row in rows])
    return _windows({name: torch.from_numpy(column) for name, column in tables.items()})[stream]


def _decode(
    index: StoredClips, streams: tuple[str, ...], sample: Sampler, rows: NDArray[np.int64]
) -> dict[str, NDArray]:
    return Decoder(index, streams, sample).decode(rows)


def _get(reference: Any) -> dict[str, NDArray]:
    try:
        decoded: dict[str, NDArray] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    return decoded


def _windows(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor | Planes]:
    """Turn the columns of `pipeline.clips.planes.columns` into one entry per stream."""
    windows: dict[str, torch.Tensor | Planes] = {}
    for stream in [name for name in tensors if "." not in name]:
        luma, planes = tensors[stream], [f"{stream}.chroma", f"{stream}.phase"]
        windows[stream] = Planes(luma, *(tensors[name] for name in planes)) if planes[0] in tensors else luma
    return windows
