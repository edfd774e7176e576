"""Batches on the device that trains: they are copied while it computes, and the time it waits for them is measured."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.clips.loader import Batch
from pipeline.clips.normalise import Planes


class Feed:
    """The batches of a loader, in order, on a device.

    For a GPU, a thread takes the batches from the loader, pins their memory and copies them as uint8 in a separate CUDA
    stream, one batch ahead of its use.

    Attributes:
        waited: seconds for which no batch was ready and, on a GPU, no other work was left.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self.batches, self.device, self.waited = batches, device, 0.0

    def __iter__(self) -> Iterator[Batch]:
        """Yield each batch once."""
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
                    compute.synchronize()  # so that `waited` counts only the time in which the GPU is idle
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
    """Copy a batch's windows and labels to a GPU through pinned memory, without waiting for the copies."""

    def copied(given: Tensor | Planes) -> Tensor | Planes:
        there = given.pin_memory().to(device, non_blocking=True)
        for tensor in (there.luma, there.chroma) if isinstance(there, Planes) else (there,):
            tensor.record_stream(user)  # its memory is not reused before `user` has finished with it
        return there

    windows = {stream: copied(window) for stream, window in batch.windows.items()}
    labels = batch.labels.pin_memory().to(device, non_blocking=True)
    labels.record_stream(user)
    return replace(batch, windows=windows, labels=labels)
