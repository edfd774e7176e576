"""From the catalog section of a config to the rows to ingest."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog import CatalogError, read_catalog
from pipeline.config import Config


def configured_catalog(config: Config) -> pa.Table:
    """The catalog that a resolved config describes, cut to its splits and limit.

    Raises:
        CatalogError: the lists or folders are not there or not of their kind.
    """
    wanted = config.catalog
    if wanted.dataset == "motion_shapes":
        shapes = wanted.motion_shapes
        catalog = read_catalog(
            "motion_shapes",
            root=wanted.videos,
            clips_per_class={"train": shapes.train, "val": shapes.val, "test": shapes.test},
            frames=shapes.frames,
            size=shapes.size,
            seed=config.seed,
        )
    elif not wanted.videos:
        raise CatalogError("catalog.videos: empty; give the folder of the video files")
    elif wanted.dataset == "folder":
        catalog = read_catalog("folder", root=wanted.videos)
    else:
        catalog = read_catalog("kinetics", dataset=wanted.dataset, annotations=wanted.annotations, videos=wanted.videos)
    splits = set(catalog["split"].to_pylist())
    missing = set(wanted.splits) - splits
    if missing:
        raise CatalogError(f"catalog.splits: {min(missing)} is not there; the catalog has {', '.join(sorted(splits))}")
    parts = [catalog.filter(pc.field("split") == split) for split in sorted(set(wanted.splits) or splits)]
    return pa.concat_tables([_evenly(part, wanted.limit) for part in parts])


def _evenly(part: pa.Table, limit: int | None) -> pa.Table:
    """At most `limit` rows, spread over the list, since lists are sorted by class."""
    if limit is None or len(part) <= limit:
        return part
    return part.take(np.linspace(0, len(part) - 1, limit).round().astype(np.int64))
