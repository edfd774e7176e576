r"""Pretrain a network: clips to shards, both streams, exact test, registered model.

    python jobs/pretrain_kinetics.py --recipe demo
    python jobs/pretrain_kinetics.py --recipe i3d_kinetics --catalog.annotations.train train.csv \
        --catalog.annotations.val validate.csv --catalog.videos videos --storage /data/kinetics
    ray job submit --working-dir . -- python jobs/pretrain_kinetics.py --recipe demo --storage /data/demo

Shards that are there already are used as they are; an interrupted run continues with --resume NAME.
"""

from pipeline.command_line import one_line_errors
from pipeline.prepare import prepared
from pipeline.recipes import PRETRAIN
from pipeline.reports import pretrained
from pipeline.training.pretrain import check, pretrain


def main(argv: list[str] | None = None) -> None:
    """Parse, ingest what is missing, train, say what came of it."""
    with one_line_errors():
        config = prepared(argv, PRETRAIN, __doc__, check)
        print(pretrained(config, pretrain(config)))


if __name__ == "__main__":
    main()
