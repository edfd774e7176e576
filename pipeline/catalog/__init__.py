"""Catalogs: tables of the clips of a data set, read before any video is fetched, with one module per data set.

    from pipeline.catalog import read_catalog
    catalog = read_catalog("kinetics", annotations={"val": "validate.csv"}, videos="videos")

A reader is a function that takes annotation files and folders and returns a `pyarrow.Table` with `CATALOG_SCHEMA`.
`pipeline.catalog.rows` describes the rows.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from pipeline.catalog import (
    activitynet,
    folder,
    hmdb51,
    kinetics,
    motion_shapes,
    rawframes,
    ucf101,
    webdataset,
    youtube8m,
)
from pipeline.catalog.rows import (
    CATALOG_SCHEMA,
    ERROR_CLASSES,
    CatalogError,
    catalog_classes,
    catalog_notes,
    clip_id,
    nearest,
)

__all__ = [
    "CATALOG_SCHEMA",
    "ERROR_CLASSES",
    "READERS",
    "CatalogError",
    "catalog_classes",
    "catalog_notes",
    "clip_id",
    "read_catalog",
]

READERS: dict[str, Callable[..., pa.Table]] = {
    "activitynet": activitynet.activitynet,
    "folder": folder.folder,
    "hmdb51": hmdb51.hmdb51,
    "kinetics": kinetics.kinetics,
    "motion_shapes": motion_shapes.motion_shapes,
    "rawframes": rawframes.rawframes,
    "ucf101": ucf101.ucf101,
    "webdataset": webdataset.webdataset,
    "youtube8m": youtube8m.youtube8m,
}


def read_catalog(dataset: str, /, **options: Any) -> pa.Table:
    """Read the catalog of a data set.

    Args:
        dataset: A name in `READERS`; positional only, because `dataset=` is an option of some readers.
        **options: The arguments of that reader.

    Returns:
        A table with `CATALOG_SCHEMA` and one row per clip; faulty clips are included, with their error.

    Raises:
        CatalogError: the data set or an option is unknown (the message names the nearest right name), or the reader
            cannot read its files at all.
    """
    if dataset not in READERS:
        raise CatalogError(f"dataset {dataset!r}: no such reader; {nearest(dataset, READERS)}")
    reader = READERS[dataset]
    parameters = inspect.signature(reader).parameters
    for name in options:
        if name not in parameters:
            raise CatalogError(f"dataset {dataset!r} has no option {name!r}; {nearest(name, parameters)}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise CatalogError(f"dataset {dataset!r} needs the option {name!r}")
    return reader(**options)
