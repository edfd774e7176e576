"""From clips to torch: tasks anywhere in the cluster decode one batch each, a worker receives them in order as uint8.

They are plain tasks of Ray, a few ahead of their use. Ray Data's executor looks ten times a second whether a task has
ended, in a thread of the worker that trains: half of two cores stood idle, and it took a seventh of its time. Its
`streaming_split` drops remainder rows and hands batches to ranks in the order of arrival, so that neither an exact
evaluation nor a repeatable training could be built on it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import ray
import torch
from numpy.typing import NDArray

from pipeline.clips.decoding import Decoder, Sampler
from pipeline.clips.index import ClipIndex
from pipeline.clips.normalise import Planes
from pipeline.clips.order import Batches
from pipeline.clips.planes import columns

AHEAD = 4  # batches that wait to be used, beyond those that are being decoded
STORE = 0.5  # share of the cluster's object store for batches


@dataclass(frozen=True)
class Batch:
    """Windows of some clips; those of a loader lie in shared memory and must not be written to.

    Attributes:
        windows: each stream's, (N, T, H, W, C) uint8, or the planes of RGB; flow as quantised levels. `normalise`
            takes both.
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
        """What a `Decoder` gives, without a copy."""
        tensors = {name: torch.from_numpy(column) for name, column in decoded.items()}
        labels, rows = tensors.pop("labels"), tensors.pop("rows")
        return cls(_windows(tensors), labels, rows)


def load_batches(
    index: ClipIndex, streams: tuple[str, ...], batches: Batches, sample: Sampler, cpus: float, share: float = 1.0
) -> Iterator[Batch]:
    """Decode batches ahead of their use.

    Args:
        index: the clips.
        streams: what to decode of each, `rgb`, `flow` or both.
        batches: rows of each batch, in the order in which they come out.
        sample: decodes one window; pickled to the tasks.
        cpus: CPUs that a decoding task reserves.
        share: part of the cluster's CPUs and object store that this loader may use, so that the loaders of several
            ranks do not crowd each other out.

    Yields:
        One `Batch` for every element of `batches`.

    Raises:
        Exception: what `sample` raised, of the first batch in which it did.
    """
    if not batches:
        return
    cluster = ray.cluster_resources()
    at_once = max(1, int(share * cluster.get("CPU", 1) / cpus))
    memory = share * STORE * cluster.get("object_store_memory", 2e9)
    decoder = ray.put(Decoder(index, streams, sample))
    # "DEFAULT": anywhere, and not on what is reserved for the worker that asks.
    submit = ray.remote(Decoder.decode).options(num_cpus=cpus, scheduling_strategy="DEFAULT").remote
    coming = (submit(decoder, rows) for rows in batches)
    pending = deque[Any](islice(coming, at_once))
    try:
        while pending:
            decoded = _get(pending[0])
            pending.popleft()
            size = sum(column.nbytes for column in decoded.values())
            ahead = min(at_once + AHEAD, max(1, int(memory / size)))
            pending.extend(islice(coming, max(0, ahead - len(pending))))
            yield Batch.of(decoded)
    finally:
        for reference in pending:
            ray.cancel(reference)


def windows_of(index: ClipIndex, rows: Iterable[int], stream: str, sample: Sampler) -> torch.Tensor | Planes:
    """The windows of some clips, decoded here and now."""
    tables = columns(stream, [sample(index, int(row), stream) for row in rows])
    return _windows({name: torch.from_numpy(column) for name, column in tables.items()})[stream]


def _get(reference: Any) -> dict[str, NDArray]:
    try:
        decoded: dict[str, NDArray] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    return decoded


def _windows(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor | Planes]:
    """The columns of `pipeline.clips.planes.columns`, one entry a stream."""
    windows: dict[str, torch.Tensor | Planes] = {}
    for stream in [name for name in tensors if "." not in name]:
        luma, planes = tensors[stream], [f"{stream}.chroma", f"{stream}.phase"]
        windows[stream] = Planes(luma, *(tensors[name] for name in planes)) if planes[0] in tensors else luma
    return windows
