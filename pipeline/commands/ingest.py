"""Turn a catalog into Parquet shards with TV-L1 flow.

    video-actions ingest --recipe i3d_kinetics --catalog.annotations.val validate.csv --catalog.videos videos
    video-actions ingest --recipe demo --storage /data/demo

If ingest is interrupted, the same command continues where it stopped. Clips that cannot be read are listed with their
reasons; --retry CLASS tries them again. --plan prints what would be done and its cost, and does nothing.
"""

import os
from collections.abc import Collection, Sequence
from typing import Any

from pipeline.command_line import one_line_errors, parse, planning
from pipeline.config import Config
from pipeline.next_command import command, next_steps, spoken
from pipeline.recipes import PRETRAIN
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, ingest, and print the result."""
    words, plan = planning(argv)
    with one_line_errors():
        config = resolve(parse(Config, PRETRAIN, words, spoken(__doc__), stored_alone))
        from pipeline.catalog import catalog_notes
        from pipeline.cluster import connect
        from pipeline.ingest.catalog import configured_catalog
        from pipeline.ingest.estimate import estimate
        from pipeline.ingest.run import ingest
        from pipeline.ingest.summary import ingested, planned, summarised
        from pipeline.shards.classes import comparison

        catalog = configured_catalog(config, plan)
        for note in (*catalog_notes(catalog), *comparison(catalog)):
            print(note)
        if plan:
            cost = estimate(config.ingest, catalog)
            print(planned(config.catalog, config.ingest, cost, os.cpu_count() or 1))
            print(next_steps(command("ingest", *words)))
            return
        connect(config, need_training=False)
        with summarised(config.ingest.shards):
            manifest = ingest(config, catalog)
        print(ingested(config.ingest.shards, manifest))
        print(next_steps(command("inspect", config.ingest.shards, "--card", "card.html")))


def stored_alone(values: dict[str, Any], given: Collection[str]) -> None:
    """Adapt fields that matter only to training, so that they do not conflict with what is stored.

    Fields that the command line sets stay as they are.
    """
    if "model.streams" not in given:
        values["model"]["streams"] = values["ingest"]["streams"]
    if not {"clips.crop", "clips.short_side"} & set(given):
        values["clips"] |= {"crop": 1, "short_side": None}
