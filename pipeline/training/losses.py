"""The loss of a step, read by the host without keeping the device waiting."""

import torch
import torch.distributed as dist
from torch import Tensor


class Reading:
    """A loss on its way to the host, summed over all workers.

    It sets out behind the forward pass. Who asks for it once the backward pass is under way waits for what is done
    already, and the GPU has work meanwhile. All workers read the same, so that they stop at the same step.
    """

    def __init__(self, loss: Tensor) -> None:
        self.total, self.arrived = loss, None
        self.sum = dist.all_reduce(loss, async_op=True) if dist.is_initialized() else None
        if loss.is_cuda:
            if self.sum is not None:
                self.sum.wait()  # makes the GPU's queue wait, not the host
            self.total = loss.to("cpu", non_blocking=True)
            self.arrived = torch.cuda.Event(blocking=True)
            self.arrived.record()

    def value(self) -> float:
        """The sum; waits until it is there."""
        if self.arrived is not None:
            self.arrived.synchronize()
        elif self.sum is not None:
            self.sum.wait()
        return float(self.total)
