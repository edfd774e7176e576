"""Batches on the device that trains, copied while it computes, and how long it stood still for them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.clips.loader import Batch
from pipeline.clips.normalise import Planes


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
                return _copied(batch, self.device, compute), copies.record_event()

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
                yield batch


def _copied(batch: Batch, device: torch.device, user: torch.cuda.Stream) -> Batch:
    """The batch with its bytes and labels on a GPU, through pinned memory, without waiting for them."""

    def copied(given: Tensor | Planes) -> Tensor | Planes:
        there = given.pin_memory().to(device, non_blocking=True)
        for tensor in (there.luma, there.chroma) if isinstance(there, Planes) else (there,):
            tensor.record_stream(user)  # whose work with it is done before its memory is given to a later batch
        return there

    windows = {stream: copied(window) for stream, window in batch.windows.items()}
    labels = batch.labels.pin_memory().to(device, non_blocking=True)
    labels.record_stream(user)
    return replace(batch, windows=windows, labels=labels)
