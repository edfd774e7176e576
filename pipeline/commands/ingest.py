"""Turn a catalog into Parquet shards with TV-L1 flow.

    video-actions ingest --recipe i3d_kinetics --catalog.annotations.val validate.csv --catalog.videos videos
    video-actions ingest --recipe demo --storage /data/demo

Interrupted, the same command goes on where it stopped. Clips that cannot be read are listed with their reasons;
--retry CLASS tries them again. --plan says what there is to do and what it would cost, and does nothing.
"""

import os
import sys
from collections.abc import Sequence

from pipeline.command_line import one_line_errors, parse
from pipeline.config import Config
from pipeline.next_command import command, next_steps, spoken
from pipeline.recipes import PRETRAIN
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, ingest, say what came of it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors():
        config = resolve(parse(Config, PRETRAIN, [word for word in arguments if word != "--plan"], spoken(__doc__)))
        from pipeline.catalog import catalog_notes
        from pipeline.cluster import connect
        from pipeline.ingest.catalog import configured_catalog
        from pipeline.ingest.estimate import estimate
        from pipeline.ingest.run import ingest
        from pipeline.ingest.summary import ingested, planned

        catalog = configured_catalog(config)
        for note in catalog_notes(catalog):
            print(note)
        if "--plan" in arguments:
            print(planned(config, estimate(config, catalog), os.cpu_count() or 1))
            return
        connect(config, need_training=False)
        print(ingested(config, ingest(config, catalog)))
        print(next_steps(command("inspect", config.ingest.shards, "--card", "card.html")))
