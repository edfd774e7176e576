"""Which clips exist, before a byte is fetched: one module a data set, one table of rows for all.

    from pipeline.catalog import read_catalog
    catalog = read_catalog("kinetics", annotations={"val": "validate.csv"}, videos="videos")

A reader is a function of annotation files and folders to a `pyarrow.Table` with `CATALOG_SCHEMA`; see
`pipeline.catalog.rows` for what a row promises.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from pipeline.catalog import folder, hmdb51, kinetics, motion_shapes, ucf101, youtube8m
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
    "folder": folder.folder,
    "hmdb51": hmdb51.hmdb51,
    "kinetics": kinetics.kinetics,
    "motion_shapes": motion_shapes.motion_shapes,
    "ucf101": ucf101.ucf101,
    "youtube8m": youtube8m.youtube8m,
}


def read_catalog(dataset: str, /, **options: Any) -> pa.Table:
    """Read the catalog of a data set.

    Args:
        dataset: A name in `READERS`; by place only, because `dataset=` is an option of some readers.
        **options: The arguments of that reader.

    Returns:
        A table with `CATALOG_SCHEMA`, one row a clip, wrong ones included with their error.

    Raises:
        CatalogError: an unknown data set or option (the nearest right name is given), or whatever the reader
            cannot read at all.
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
