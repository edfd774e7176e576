"""Reading of the catalog that the catalog section of a config describes."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog import CatalogError, read_catalog
from pipeline.catalog.drawn_split import Draw, draw_clips, draw_split
from pipeline.catalog.youtube8m_lookup import BASE, Lookup
from pipeline.config import CatalogConfig, Config, FetchConfig, IngestConfig
from pipeline.ingest.fetch.samples import read_samples
from pipeline.ingest.stored_flow import STORED


def configured_catalog(config: Config, plan: bool = False) -> pa.Table:
    """Return the catalog that a resolved config describes, cut to its splits and limit.

    `catalog_notes` can be read from the result as from the full catalog.

    Args:
        config: a resolved config.
        plan: whether the catalog is for a plan alone, for which no service is asked and nothing is written.

    Raises:
        CatalogError: the lists or folders do not exist or are not of the right kind.
    """
    wanted = config.catalog
    _check_stored_flow(wanted, config.ingest)
    if wanted.dataset in ("ucf101", "hmdb51", "folder", "rawframes") and not wanted.videos:
        raise CatalogError("catalog.videos: empty; give the folder of the video files")
    if wanted.dataset in ("ucf101", "hmdb51", "folder", "rawframes") and "://" in wanted.videos:
        raise CatalogError(
            f"catalog.videos: {wanted.videos}: {wanted.dataset} is read from a local folder, since its names are its "
            "labels; copy or mount it, and give that folder"
        )
    catalog = _read(config, plan)
    there = set(catalog["split"].to_pylist())
    _check_splits(wanted.splits, there)
    parts = [catalog.filter(pc.field("split") == split) for split in sorted(set(wanted.splits) or there)]
    return pa.concat_tables([_evenly(part, wanted.limit) for part in parts])


def _read(config: Config, plan: bool) -> pa.Table:
    wanted = config.catalog
    match wanted.dataset:
        case "motion_shapes":
            shapes = wanted.motion_shapes
            return read_catalog(
                "motion_shapes",
                root=wanted.videos,
                clips_per_class={"train": shapes.train, "val": shapes.val, "test": shapes.test},
                frames=shapes.frames,
                size=shapes.size,
                seed=config.seed,
                classes=shapes.classes,
                plan=plan,
            )
        case "folder":
            draw = Draw(wanted.split_seed, wanted.val_fraction, wanted.test_fraction, wanted.groups, wanted.fold)
            return draw_split(read_catalog("folder", root=wanted.videos), wanted.videos, draw)
        case "rawframes":
            lists, rate = wanted.annotations, wanted.frames_fps
            return read_catalog("rawframes", root=wanted.videos, annotations=lists, fps=rate)
        case "webdataset":
            return _webdataset(wanted, config.ingest.fetch)
        case "ucf101" | "hmdb51":
            if set(wanted.annotations) != {"splits"}:
                raise CatalogError(
                    f"catalog.annotations: {wanted.dataset} takes the folder of its split files, as "
                    "--catalog.annotations.splits FOLDER, and nothing else"
                )
            return read_catalog(
                wanted.dataset,
                videos=wanted.videos,
                splits=wanted.annotations["splits"],
                split_number=wanted.split_number,
            )
        case "activitynet":
            if set(wanted.annotations) != {"json"}:
                raise CatalogError(
                    "catalog.annotations: activitynet takes its one file, as --catalog.annotations.json "
                    "activity_net.v1-3.min.json, and nothing else"
                )
            return read_catalog("activitynet", annotations=wanted.annotations["json"], videos=wanted.videos or None)
        case "youtube8m" | "youtube8m_segments":
            return _youtube8m(config, plan)
        case _:
            if not wanted.annotations:
                raise CatalogError(
                    "catalog.annotations: empty; give the CSV of each split, as --catalog.annotations.train FILE"
                )
            strange = set(wanted.archives) - set(wanted.annotations) - {"replacements"}
            if strange:
                raise CatalogError(f"catalog.archives.{min(strange)}: no such split in catalog.annotations")
            return read_catalog(
                "kinetics",
                dataset=wanted.dataset,
                annotations=wanted.annotations,
                videos=wanted.videos or None,
                archives=wanted.archives,
            )


def _webdataset(wanted: CatalogConfig, fetch: FetchConfig) -> pa.Table:
    """Read every archive once for the names of its clips and for their labels; ingest reads it again for the clips."""
    if not wanted.archives:
        raise CatalogError(
            "catalog.archives: empty; give the archives of each split, as --catalog.archives.train WHERE"
        )
    if "replacements" in wanted.archives:
        raise CatalogError("catalog.archives.replacements: webdataset has none; put the good clips into the archives")
    samples = {split: read_samples(where, fetch) for split, where in wanted.archives.items()}
    catalog = read_catalog("webdataset", samples=samples, archives=wanted.archives, label=wanted.label)
    return draw_clips(catalog, Draw(wanted.split_seed, wanted.val_fraction, wanted.test_fraction))


def _youtube8m(config: Config, plan: bool) -> pa.Table:
    """Read only the splits and the number of clips that are wanted, because every id costs a request."""
    wanted = config.catalog
    records = {name: path for name, path in wanted.annotations.items() if name not in ("ids", "lookup")}
    _check_splits(wanted.splits, set(records))
    cache = wanted.annotations.get("ids", f"{config.storage}/youtube8m_ids.tsv")
    if "://" in cache:
        raise CatalogError(f"catalog.annotations.ids: {cache} is no local file; give one to keep the found ids in")
    return read_catalog(
        "youtube8m",
        dataset=wanted.dataset,
        records={split: path for split, path in records.items() if split in (wanted.splits or records)},
        cache=cache,
        videos=wanted.videos or None,
        windows="segments" if wanted.dataset == "youtube8m_segments" else "seeded",
        seed=config.seed,
        limit=wanted.limit,
        lookup=Lookup(base=wanted.annotations.get("lookup", BASE)),
        plan=plan,
    )


def _check_stored_flow(catalog: CatalogConfig, ingest: IngestConfig) -> None:
    """Check that flow which is to be read can be there, and goes from each stored frame to the next."""
    if ingest.flow.backend != STORED or "flow" not in ingest.streams:
        return
    if catalog.dataset != "rawframes":
        raise CatalogError(
            f"ingest.flow.backend: {STORED} is for rawframes, which have flow_x and flow_y pictures; "
            f"{catalog.dataset} has none, so leave it out"
        )
    if catalog.frames_fps != ingest.fps:
        raise CatalogError(
            f"ingest.fps: {ingest.fps}; stored flow goes from each extracted frame to the next, and there are "
            f"{catalog.frames_fps} a second (catalog.frames_fps); give both the same number"
        )


def _check_splits(wanted: tuple[str, ...], there: set[str]) -> None:
    missing = set(wanted) - there
    if missing:
        raise CatalogError(f"catalog.splits: {min(missing)} is not there; the catalog has {', '.join(sorted(there))}")


def _evenly(part: pa.Table, limit: int | None) -> pa.Table:
    """Return at most `limit` rows, spread evenly over the list, because lists are sorted by class."""
    if limit is None or len(part) <= limit:
        return part
    return part.take(np.linspace(0, len(part) - 1, limit).round().astype(np.int64))
