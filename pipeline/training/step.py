"""One optimiser step: forward and backward passes of one or more batches, then one update."""

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.clips.loader import Batch
from pipeline.clips.normalise import normalise
from pipeline.config import TrainingConfig
from pipeline.training.checkpoints import State
from pipeline.training.losses import cross_entropy
from pipeline.training.micro_batches import Portion, seed_dropout
from pipeline.training.mixup import Mixing
from pipeline.training.precision import clip_format, fastest_algorithms
from pipeline.training.rank import Rank


def network_clips(batch: Batch, streams: tuple[str, ...], here: Rank) -> tuple[Tensor, ...]:
    """Return a batch as network input: for each stream, (N, C, T, H, W) floats from -1 to 1, on the device."""
    clips = (normalise(batch.windows[stream].to(here.device, non_blocking=True)) for stream in streams)
    return tuple(clip.contiguous(memory_format=clip_format(here.device, here.dtype)) for clip in clips)


def time_steps(network: nn.Module) -> dict[str, bool]:
    """Return the option of a forward pass by which a network with `loss_on_every_step` returns all time steps."""
    return {"every_step": True} if getattr(network, "loss_on_every_step", False) else {}


class LossReading:
    """A loss that is summed over all workers and copied to the host asynchronously.

    The sum and the copy are queued on the GPU behind the forward pass. A caller that asks for the value after the
    backward pass was launched waits for the forward pass only, and the GPU has work meanwhile. All workers read the
    same value, so they stop at the same step.
    """

    def __init__(self, loss: Tensor) -> None:
        self.total, self.arrived = loss, None
        self.sum = dist.all_reduce(loss, async_op=True) if dist.is_initialized() else None
        if loss.is_cuda:
            if self.sum is not None:
                self.sum.wait()  # blocks the GPU's stream, not the host
            self.total = loss.to("cpu", non_blocking=True)
            self.arrived = torch.cuda.Event(blocking=True)
            self.arrived.record()

    def value(self) -> float:
        """Wait for the sum and return it."""
        if self.arrived is not None:
            self.arrived.synchronize()
        elif self.sum is not None:
            self.sum.wait()
        return float(self.total)


@fastest_algorithms()
def train_step(
    training: TrainingConfig,
    seed: int,
    model: nn.Module,
    batches: Sequence[Batch],
    streams: tuple[str, ...],
    here: Rank,
    state: State,
    portion: Portion | None = None,
) -> Tensor:
    """Add up the gradients of all batches, update the weights once, and return the logits of all clips, (N, classes).

    Batches of equal size give the same update as one batch with all their clips, except for batch norm, which computes
    its statistics in each batch. A network with `loss_on_every_step` is trained on the logits of all time steps; only
    those of the last time step are returned.

    The GPU never waits for the host: the host reads the loss while the backward pass runs, and then launches the
    update.

    Args:
        training: mixup, label smoothing and the largest norm of the gradient.
        seed: seed of the training.
        model: the network as DDP trains it.
        batches: this worker's micro-batches of the step.
        streams: the streams that the network takes.
        here: this worker.
        state: the state of the training, which the step updates.
        portion: says which micro-batches of the step these are; by default they are all of them.

    Raises:
        FloatingPointError: the loss of any worker is not finite. Every worker raises it and leaves its weights
            unchanged.
    """
    every_step = time_steps(state.model)
    state.optimiser.zero_grad(set_to_none=True)
    scored, losses = [], []
    portion = portion or Portion(0, len(batches), len(batches), 1 / len(batches))
    for number, batch in enumerate(batches, start=portion.first):
        labels = batch.labels.to(here.device, non_blocking=True)
        seed_dropout(seed, state.step, number)
        mixing = Mixing.drawn(training.mixup, seed, state.step, number)
        last = number == portion.first + len(batches) - 1
        with nullcontext() if last else getattr(model, "no_sync", nullcontext)():  # DDP reduces gradients once per step
            with here.autocast():
                clips = map(mixing.clips, network_clips(batch, streams, here))
                logits = model(*clips, **every_step)
                loss = cross_entropy(logits, labels, training.label_smoothing, mixing.share)
            losses.append(loss.detach())
            if last:
                reading = LossReading(torch.stack(losses).sum())
            (loss * portion.share).backward()
        scored.append(logits[..., -1] if every_step else logits)
    if not math.isfinite(total := reading.value()):
        raise FloatingPointError(f"{'+'.join(streams)}: loss is {total} at step {state.step}; lower optimiser.lr")
    if training.clip_gradient is not None:
        nn.utils.clip_grad_norm_(model.parameters(), training.clip_gradient)
    state.optimiser.step()
    state.step += 1
    state.loss = total / portion.of
    if state.average is not None:
        state.average.update_parameters(state.model)
    return torch.cat(scored)
