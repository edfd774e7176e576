"""One optimiser step: forward and backward of one or more batches, update."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.clips.loader import Batch
from pipeline.clips.normalise import normalise
from pipeline.config import Config
from pipeline.training.checkpoints import State
from pipeline.training.mixup import Mixing
from pipeline.training.portions import Portion, seed_dropout
from pipeline.training.rank import Rank


def network_clips(batch: Batch, streams: tuple[str, ...], device: torch.device) -> tuple[Tensor, ...]:
    """A batch as a network takes it: of each stream (N, C, T, H, W) floats from -1 to 1, on the device."""
    return tuple(normalise(batch.windows[stream].to(device, non_blocking=True)) for stream in streams)


def train_step(
    config: Config,
    model: nn.Module,
    batches: Sequence[Batch],
    streams: tuple[str, ...],
    here: Rank,
    state: State,
    portion: Portion | None = None,
) -> Tensor:
    """Gradients of all batches added up, one update; the logits of all clips, (N, classes).

    Batches of one size give the step that one batch of all their clips would give, but for batch norm, whose statistics
    are of one batch. A network with `loss_on_every_step` learns from all time steps; its logits are the last one's.

    Args:
        config: of the training.
        model: as DDP trains it.
        batches: micro-batches of the step.
        streams: what of them the network takes.
        here: this worker.
        state: moves on by the step.
        portion: which micro-batches these are; all of the step by default.

    Raises:
        FloatingPointError: the loss is not finite; the network is left as it was.
    """
    every_step = {"every_step": True} if getattr(state.model, "loss_on_every_step", False) else {}
    state.optimiser.zero_grad(set_to_none=True)
    scored = []
    portion = portion or Portion(0, len(batches), len(batches), 1 / len(batches))
    for number, batch in enumerate(batches, start=portion.first):
        labels = batch.labels.to(here.device)
        seed_dropout(config.seed, state.step, number)
        mixing = Mixing.drawn(config.training.mixup, config.seed, state.step, number)
        wait = isinstance(model, DistributedDataParallel) and number < portion.first + len(batches) - 1
        with model.no_sync() if wait else nullcontext():  # type: ignore[operator]  # gradients are summed once a step
            with here.autocast():
                clips = map(mixing.clips, network_clips(batch, streams, here.device))
                logits = model(*clips, **every_step)
                loss = mixing.loss(logits, labels, config.training.label_smoothing)
            if not torch.isfinite(loss):
                name = "+".join(streams)
                raise FloatingPointError(f"{name}: loss is {loss.item()} at step {state.step}; lower optimiser.lr")
            (loss * portion.share).backward()
        scored.append(logits[..., -1] if every_step else logits)
    if config.training.clip_gradient is not None:
        nn.utils.clip_grad_norm_(model.parameters(), config.training.clip_gradient)
    state.optimiser.step()
    state.step += 1
    if state.average is not None:
        state.average.update_parameters(state.model)
    return torch.cat(scored)
