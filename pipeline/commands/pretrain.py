r"""Pretrain a network: clips to shards, both streams, exact test, registered model.

    python jobs/pretrain_kinetics.py --recipe demo
    python jobs/pretrain_kinetics.py --recipe i3d_kinetics --catalog.annotations.train train.csv \
        --catalog.annotations.val validate.csv --catalog.videos videos --storage /data/kinetics
    ray job submit --working-dir . -- python jobs/pretrain_kinetics.py --recipe demo --storage /data/demo

Shards that are there already are used as they are; an interrupted run continues with --resume NAME.
"""

from collections.abc import Sequence

from pipeline.command_line import given, one_line_errors, parse
from pipeline.config import Config
from pipeline.recipes import PRETRAIN
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, ingest what is missing, train, say what came of it."""
    with one_line_errors():
        config = resolve(parse(Config, PRETRAIN, argv, __doc__))
        from pipeline.prepare import prepared
        from pipeline.training.pretrain import check, pretrain
        from pipeline.training.summary import pretrained

        config = prepared(config, given(argv), check)
        print(pretrained(config, pretrain(config)))
