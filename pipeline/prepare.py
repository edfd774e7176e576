"""What every training job does first: name the run, say what is odd about the clips, ingest what is missing."""

from collections.abc import Callable, Collection

from pipeline.catalog import catalog_notes
from pipeline.cluster import connect
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.ingest.summary import ingested
from pipeline.training.names import named

Check = Callable[[Config, set[str]], object]


def prepared(config: Config, given: Collection[str], check: Check) -> Config:
    """From a config to a complete shard set on a cluster that is there.

    Args:
        config: resolved.
        given: names of the fields that the command line sets.
        check: raises for what would not train, given the config and the splits of the clips, before anything runs.

    Returns:
        The config, named.

    Raises:
        ConfigError: it does not hold together.
        CatalogError: the list of clips cannot be read.
        IngestError: the clips cannot be ingested, or too many failed.
    """
    config = named(config, given)
    catalog = configured_catalog(config)
    for note in catalog_notes(catalog):
        print(note)
    check(config, set(catalog["split"].to_pylist()))
    config = connect(config)
    print(ingested(config, ingest(config, catalog)), flush=True)
    return config
