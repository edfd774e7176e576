"""The order in which workers add up their gradients, which is the same before and after a restart.

Until DDP has seen one backward pass, it reduces all gradients in one bucket; from then on, in buckets of 25 MiB in the
order in which gradients arrive. Three or more workers add the same values in another order if their buckets are others,
which changes the last digits of a step. Batch norm over few clips magnifies them: before this module, the loss of the
epochs after a restart differed by up to 1 % (3 workers, 4 clips each).
"""

from torch import nn

from pipeline.clips.loader import Batch
from pipeline.training.rank import Rank
from pipeline.training.step import network_clips, time_steps

IN_ANY_ORDER = 2  # number of workers whose gradients have the same sum in any order


def fix_bucket_order(model: nn.Module, network: nn.Module, batch: Batch, streams: tuple[str, ...], here: Rank) -> None:
    """Let DDP see one backward pass before the first step, and leave weights and statistics as they were.

    Args:
        model: the network as DDP trains it.
        network: the network itself.
        batch: a micro-batch of this worker.
        streams: the streams that the network takes.
        here: this worker.
    """
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with here.autocast():
        logits = model(*network_clips(batch, streams, here), **time_steps(network))
    logits.float().sum().backward()
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    network.zero_grad(set_to_none=True)
