"""What every training job does first: name the run, say what is odd about the clips, ingest what is missing."""

from collections.abc import Callable, Collection

from pipeline.catalog import catalog_notes
from pipeline.cluster import connect
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.ingest.summary import ingested
from pipeline.training.names import named
from pipeline.training.splits import class_notes
from pipeline.training.starts import chosen_start

Check = Callable[[Config, set[str]], object]


def prepared(config: Config, given: Collection[str], check: Check, labelled: bool = True) -> Config:
    """From a config to a complete shard set on a cluster that is there.

    Args:
        config: resolved.
        given: names of the fields that the command line sets.
        check: raises for what would not train, given the config and the splits of the clips, before anything runs.
        labelled: whether the training is on labels.

    Returns:
        The config, named.

    Raises:
        ConfigError: it does not hold together.
        CatalogError: the list of clips cannot be read.
        IngestError: the clips cannot be ingested, or too many failed.
    """
    config, notes = chosen_start(named(config, given))
    catalog = configured_catalog(config)
    check(config, set(catalog["split"].to_pylist()))
    for note in (*notes, *catalog_notes(catalog), *(class_notes(config, catalog) if labelled else ())):
        print(note, flush=True)
    config = connect(config)
    print(ingested(config, ingest(config, catalog)), flush=True)
    return config
