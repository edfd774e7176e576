"""Batches of windows as a Ray Data dataset, for inference jobs."""

import numpy as np
import ray
from numpy.typing import NDArray

from pipeline.clips.decoding import Decoder
from pipeline.clips.order import Batches


def decoded(decoder: Decoder, batches: Batches, cpus: float) -> ray.data.Dataset:
    """Return a dataset with one block per batch, in order, with the columns of the decoder.

    Args:
        decoder: decodes the batches.
        batches: rows of each batch.
        cpus: CPUs that a decoding task reserves.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = None  # a batch is a block, however large
    context.execution_options.preserve_order = True

    stored = ray.put(decoder)  # once, and not with the function

    def decode(step: dict[str, NDArray[np.int64]]) -> dict[str, NDArray]:
        return ray.get(stored).decode(batches[int(step["item"][0])])

    # `from_items` makes the blocks here. `range` and `from_arrow` would start tasks that need a whole CPU each, which
    # a cluster whose CPUs are reserved may never have.
    steps = ray.data.from_items(list(range(len(batches))), override_num_blocks=len(batches))
    return steps.map_batches(decode, batch_size=1, num_cpus=cpus)
