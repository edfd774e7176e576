"""Batches on the device that trains, copied while it computes, and how long it stood still for them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.clips.loader import Batch


class Feed:
    """The batches of a loader, in their order, on a device.

    On a GPU a thread takes them from the loader, pins their memory and copies them in a stream of its own, one batch
    ahead of its use, as the uint8 that they are.

    Attributes:
        waited: seconds for which there was no batch and, on a GPU, nothing else left to do.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self.batches, self.device, self.waited = batches, device, 0.0

    def __iter__(self) -> Iterator[Batch]:
        """Each batch once."""
        return self._ahead() if self.device.type == "cuda" else self._in_turn()

    def _in_turn(self) -> Iterator[Batch]:
        while True:
            start = time.monotonic()
            batch = next(self.batches, None)
            self.waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def _ahead(self) -> Iterator[Batch]:
        compute = torch.cuda.current_stream(self.device)
        copies = torch.cuda.Stream(self.device)

        def fetch() -> tuple[Batch, torch.cuda.Event] | None:
            batch = next(self.batches, None)
            if batch is None:
                return None
            with torch.cuda.stream(copies):
                batch = on_device(batch, self.device)
            return batch, copies.record_event()

        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(fetch)
            while True:
                if not coming.done():
                    compute.synchronize()  # so that only standing still is counted
                start = time.monotonic()
                fetched = coming.result()
                self.waited += time.monotonic() - start
                if fetched is None:
                    return
                coming = thread.submit(fetch)
                batch, copied = fetched
                compute.wait_event(copied)
                for tensor in _tensors(batch):
                    tensor.record_stream(compute)  # its memory is not given to a later copy before it was used
                yield batch


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A copy of the batch on a GPU, through pinned memory and without waiting for it; elsewhere the batch itself."""
    if device.type != "cuda":
        return batch

    def copied(tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(device, non_blocking=True)

    windows = {stream: copied(window) for stream, window in batch.windows.items()}
    return replace(batch, windows=windows, labels=copied(batch.labels))


def _tensors(batch: Batch) -> list[Tensor]:
    return [*batch.windows.values(), batch.labels]
