"""Turn a catalog into Parquet shards with TV-L1 flow.

    python jobs/ingest.py --recipe i3d_kinetics --catalog.annotations.val validate.csv --catalog.videos videos
    python jobs/ingest.py --recipe demo --storage /data/demo

Interrupted, the same command goes on where it stopped. Clips that cannot be read are listed with their reasons.
"""

from pipeline.catalog import catalog_notes
from pipeline.cluster import connect, resolve
from pipeline.command_line import one_line_errors, parse
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.recipes import PRETRAIN
from pipeline.reports import ingested


def main(argv: list[str] | None = None) -> None:
    """Parse, ingest, say what came of it."""
    with one_line_errors():
        config = resolve(parse(Config, PRETRAIN, argv, __doc__))
        catalog = configured_catalog(config)
        for note in catalog_notes(catalog):
            print(note)
        connect(config, need_training=False)
        print(ingested(config, ingest(config, catalog)))


if __name__ == "__main__":
    main()
