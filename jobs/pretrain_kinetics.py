r"""Pretrain a network: clips to shards, both streams, exact test, registered model.

    python jobs/pretrain_kinetics.py --recipe demo
    python jobs/pretrain_kinetics.py --recipe i3d_kinetics --catalog.annotations.train train.csv \
        --catalog.annotations.val validate.csv --catalog.videos videos --storage /data/kinetics
    ray job submit --working-dir . -- python jobs/pretrain_kinetics.py --recipe demo --storage /data/demo

Shards that are there already are used as they are; an interrupted run continues with --resume NAME.
"""

from pipeline.catalog import catalog_notes
from pipeline.cluster import connect, resolve
from pipeline.command_line import given, one_line_errors, parse
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.recipes import PRETRAIN
from pipeline.reports import ingested, pretrained
from pipeline.training.names import named
from pipeline.training.pretrain import check, pretrain


def main(argv: list[str] | None = None) -> None:
    """Parse, ingest what is missing, train, say what came of it."""
    with one_line_errors():
        config = named(resolve(parse(Config, PRETRAIN, argv, __doc__)), given(argv))
        catalog = configured_catalog(config)
        for note in catalog_notes(catalog):
            print(note)
        check(config, set(catalog["split"].to_pylist()))
        connect(config)
        print(ingested(config, ingest(config, catalog)), flush=True)
        print(pretrained(config, pretrain(config)))


if __name__ == "__main__":
    main()
