"""The validation after an epoch: every clip of the split exactly once, over all workers."""

import math

import torch
from torch import nn

from pipeline.clips.index import ClipIndex
from pipeline.clips.loader import load_batches
from pipeline.clips.order import evaluation_batches
from pipeline.progress import Progress
from pipeline.training.job import Job
from pipeline.training.metrics import Sums
from pipeline.training.prefetch import Feed
from pipeline.training.rank import Rank
from pipeline.training.step import network_clips


@torch.no_grad()
def validate(job: Job, network: nn.Module, index: ClipIndex, here: Rank, epoch: int = 1) -> dict[str, float]:
    """Validate on every clip of the split exactly once, over all workers; `epoch` is for the progress messages.

    Raises:
        AssertionError: a clip was lost or counted twice.
        FloatingPointError: the loss is not finite.
    """
    network.eval()
    config, streams = job.config, job.streams
    index, sample = job.task.validation(index)
    rows = evaluation_batches(sample.lengths(index, streams[0]), config.evaluation.batch_size, here.rank, here.world)
    sums = Sums()
    batches = load_batches(index, streams, rows, sample, config.resources.cpus_of_a_loader, share=1 / here.world)
    what = f"{job.stream} epoch {epoch}/{config.training.epochs}: validation"
    counted = Progress(what, len(index), every_s=config.tracking.every_s, last_line=False)
    for batch in Feed(batches, here.device):
        with here.autocast():
            logits = network(*network_clips(batch, streams, here))
        sums.add(logits, batch.labels)
        if here.rank == 0:
            counted.advance(min(len(batch) * here.world, counted.total - counted.done))
    metrics = sums.all_reduce().means("val")
    assert metrics["val/clips"] == len(index), f"{metrics['val/clips']} of {len(index)} clips validated"  # noqa: S101
    if not math.isfinite(metrics["val/loss"]):
        raise FloatingPointError(f"{job.stream}: validation loss is {metrics['val/loss']}; lower optimiser.lr")
    return metrics
