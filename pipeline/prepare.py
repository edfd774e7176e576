"""What every training job does first: read its config, say what is odd about the clips, ingest what is missing."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.catalog import catalog_notes
from pipeline.cluster import connect, resolve
from pipeline.command_line import given, parse
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.reports import ingested
from pipeline.training.names import named

Check = Callable[[Config, set[str]], object]


def prepared(argv: Sequence[str] | None, recipes: Mapping[str, Callable[[], Config]], doc: str, check: Check) -> Config:
    """From a command line to a complete shard set on a cluster that is there.

    Args:
        argv: arguments without the program's name; `sys.argv[1:]` when None.
        recipes: name to function; the first is the default.
        doc: the job's docstring, printed by `--help`.
        check: raises for what would not train, given the config and the splits of the clips, before anything runs.

    Returns:
        The config, resolved and named.

    Raises:
        ConfigError: it does not hold together.
        CatalogError: the list of clips cannot be read.
        IngestError: the clips cannot be ingested, or too many failed.
    """
    config = named(resolve(parse(Config, recipes, argv, doc)), given(argv))
    catalog = configured_catalog(config)
    for note in catalog_notes(catalog):
        print(note)
    check(config, set(catalog["split"].to_pylist()))
    config = connect(config)
    print(ingested(config, ingest(config, catalog)), flush=True)
    return config
