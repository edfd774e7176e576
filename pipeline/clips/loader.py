"""Ray Data to torch: tasks anywhere in the cluster decode one batch each, a worker receives them in order as uint8.

Every rank runs a dataset of its own over its own part of the order (`pipeline.clips.order`), instead of sharing one by
`streaming_split`: that drops remainder rows, and hands batches to ranks in the order of arrival, so that neither an
exact evaluation nor a repeatable training could be built on it.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray
from ray.data.collate_fn import ArrowBatchCollateFn

from pipeline.clips.index import ClipIndex
from pipeline.clips.normalise import Planes
from pipeline.clips.order import Batches
from pipeline.clips.pacing import Paced
from pipeline.clips.planes import Window, columns

Sampler = Callable[[ClipIndex, int, str], Window]


@dataclass(frozen=True)
class Batch:
    """Windows of some clips.

    Attributes:
        windows: of each stream, (N, T, H, W, C) uint8, or the planes of RGB; flow as quantised levels. `normalise`
            takes both.
        labels: (N,) int64, -1 where unlabelled.
        rows: (N,) int64, positions in the `ClipIndex`.
    """

    windows: Mapping[str, torch.Tensor | Planes]
    labels: torch.Tensor
    rows: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)


class CollateClips(ArrowBatchCollateFn):
    """One Arrow table to one `Batch`, without a copy where the table is one chunk."""

    def __call__(self, batch: pa.Table) -> Batch:
        """See the class."""
        tensors = {name: _tensor(batch[name]) for name in batch.column_names}
        labels, rows = tensors.pop("labels"), tensors.pop("rows")
        return Batch(_windows(tensors), labels, rows)


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
    """
    if not batches:
        return
    decoded = decoding_dataset(index, streams, batches, sample, cpus, share)
    yield from decoded.iter_torch_batches(batch_size=None, prefetch_batches=4, collate_fn=CollateClips(), device="cpu")


def windows_of(index: ClipIndex, rows: Iterable[int], stream: str, sample: Sampler) -> torch.Tensor | Planes:
    """The windows of some clips, decoded here and now."""
    tables = columns(stream, [sample(index, int(row), stream) for row in rows])
    return _windows({name: torch.from_numpy(column) for name, column in tables.items()})[stream]


def decoding_dataset(
    index: ClipIndex, streams: tuple[str, ...], batches: Batches, sample: Sampler, cpus: float, share: float = 1.0
) -> ray.data.Dataset:
    """The dataset behind `load_batches`: a block a batch, columns `rows`, `labels` and those of each stream."""
    _configure(share)

    def decode(step: dict[str, NDArray[np.int64]]) -> dict[str, NDArray]:
        rows = batches[int(step["item"][0])]
        windows = [columns(stream, [sample(index, int(row), stream) for row in rows]) for stream in streams]
        return {"rows": rows, "labels": index.label[rows], **dict(ChainMap(*windows))}

    # A block a batch, made here: `range` and `from_arrow` start tasks of a whole CPU each, which a cluster whose CPUs
    # the training workers have reserved may never have.
    steps = ray.data.from_items(list(range(len(batches))), override_num_blocks=len(batches))
    return steps.map_batches(decode, batch_size=1, num_cpus=cpus)


def _configure(share: float) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = None  # a batch is a block, however large
    if Paced not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(Paced)
    options = context.execution_options
    options.preserve_order = True
    resources = ray.cluster_resources()
    options.resource_limits = options.resource_limits.copy(
        cpu=max(1.0, share * resources.get("CPU", 1.0)),
        object_store_memory=share * 0.5 * resources.get("object_store_memory", 2e9),
    )


def _windows(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor | Planes]:
    """The columns of `pipeline.clips.planes.columns`, one entry a stream."""
    windows: dict[str, torch.Tensor | Planes] = {}
    for stream in [name for name in tensors if "." not in name]:
        luma, planes = tensors[stream], [f"{stream}.chroma", f"{stream}.phase"]
        windows[stream] = Planes(luma, *(tensors[name] for name in planes)) if planes[0] in tensors else luma
    return windows


def _tensor(column: pa.ChunkedArray) -> torch.Tensor:
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    values = array.to_numpy_ndarray() if hasattr(array, "to_numpy_ndarray") else array.to_numpy(zero_copy_only=False)
    return torch.from_numpy(values if values.flags.writeable else values.copy())
