r"""Pretrain a network: make shards, train each stream, test exactly, register the model.

    video-actions pretrain --recipe demo
    video-actions pretrain --recipe i3d_kinetics --catalog.annotations.train train.csv \
        --catalog.annotations.val validate.csv --catalog.videos videos --storage /data/kinetics
    ray job submit --working-dir . -- python jobs/pretrain_kinetics.py --recipe demo --storage /data/demo

Existing shards are used as they are; an interrupted run continues with --resume NAME.
"""

from collections.abc import Sequence

from pipeline.commands.training import train
from pipeline.recipes import PRETRAIN


def main(argv: Sequence[str] | None = None) -> None:
    """Pretrain a network with one of the pretraining recipes."""
    train("pretrain", argv, PRETRAIN, __doc__)
