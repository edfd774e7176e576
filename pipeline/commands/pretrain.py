r"""Pretrain a network: clips to shards, both streams, exact test, registered model.

    video-actions pretrain --recipe demo
    video-actions pretrain --recipe i3d_kinetics --catalog.annotations.train train.csv \
        --catalog.annotations.val validate.csv --catalog.videos videos --storage /data/kinetics
    ray job submit --working-dir . -- python jobs/pretrain_kinetics.py --recipe demo --storage /data/demo

Shards that are there already are used as they are; an interrupted run continues with --resume NAME.
"""

from collections.abc import Sequence

from pipeline.commands.training import train
from pipeline.recipes import PRETRAIN


def main(argv: Sequence[str] | None = None) -> None:
    """Pretrain, by one of the recipes for it."""
    train("pretrain", argv, PRETRAIN, __doc__)
