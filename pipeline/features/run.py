"""One run from a catalog to the features of all its clips, which can be restarted at any point.

    1. plan      clips, networks and windows, written first; a folder of another plan is refused
    2. clips     Ray Data: fetch, decode, flow, networks; one staged file per clip, written atomically
    3. results   the task that has the clips of a file joins them, again atomically
    4. manifest  counts, failures, digest of the features, written last

Units of work, staging, resumption and what happens to killed workers are those of ingest (`pipeline.ingest.product`).
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.config import ClipsConfig, Config, IngestConfig, ResourcesConfig
from pipeline.features.extraction import Cutting, extract
from pipeline.features.frames import decoded, stored
from pipeline.features.loading import Loaded
from pipeline.features.plan import Wanted, claim, plan_of
from pipeline.features.results import Joiner, Row, Spool, file_name, make_store, read_videos, schema_of
from pipeline.features.retry import recorded_classes, reopen
from pipeline.features.scorer import Networks, Score, scorer
from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.convert import Stopwatch
from pipeline.ingest.folder_lock import only_ingest
from pipeline.ingest.layout import Layout, layout_of
from pipeline.ingest.lists import seen_by_all
from pipeline.ingest.plan import gpus, with_backend
from pipeline.ingest.product import Product, flow_of
from pipeline.ingest.retry import chosen_by
from pipeline.ingest.run import Write, make_shards
from pipeline.ingest.run_errors import IngestError, check_lost, explained
from pipeline.ingest.second_try import persistently
from pipeline.ingest.staging import STAGING, list_of
from pipeline.masking import masked
from pipeline.shards.manifest import MANIFEST
from pipeline.shards.tables import write_table
from pipeline.storage import exists, make_folder, read_json, remove, remove_unfinished, write_json

VIDEOS_TABLE = "_videos.parquet"
KIND = "features"
SHARED_GPU = 0.5
"""Share of a GPU that networks and flow reserve each if both compute there."""
AT_ONCE = 8
"""Lists that are read at the same time."""


def compute_features(
    config: Config,
    wanted: Wanted,
    loaded: Loaded,
    catalog: pa.Table,
    shards: tuple[str, str] = ("", ""),
    write: Write | None = None,
) -> dict[str, Any]:
    """Compute the features of a catalog, or finish what an earlier run began.

    Args:
        config: a resolved config; `config.ingest.shards` is the folder or URI of the results.
        wanted: what is wanted of each clip.
        loaded: the networks.
        catalog: rows of `pipeline.catalog.CATALOG_SCHEMA`.
        shards: folder and digest of the shard set that has the clips; empty if they are decoded from their videos.
        write: function that takes the lines of progress; if None, they go to the console.

    Returns:
        The manifest.

    Raises:
        IngestError: the catalog is empty; another run works in the folder, or it holds results of another plan; or the
            disk, the store or the cluster failed.
        LostClipsError: more clips failed than `ingest.max_failed` allows.
        LayerError: the networks cannot take such windows, or have no classifier and its output is wanted.
    """
    start, folder = time.monotonic(), config.ingest.shards
    if not len(catalog):
        raise IngestError("no videos: the catalog is empty")
    loaded.check(wanted.layers)
    shapes = columns_of(loaded, wanted, config.clips)
    with explained(folder):
        ingest = replace(config.ingest, streams=loaded.streams)  # type: ignore[arg-type]
        ingest = ingest if shards[0] else with_backend(ingest, config.resources)
        plan = plan_of(ingest, config.clips, wanted, loaded, catalog, shards[1])
        chosen = chosen_by(config.retry, lambda: recorded_classes(folder))
        make_folder(folder)
        with only_ingest(folder):
            remove_unfinished(folder)
            claim(folder, plan)
            layout = layout_of(catalog, ingest.clips_per_shard)
            if config.retry:
                reopen(folder, layout, VIDEOS_TABLE, chosen, config.resources.ingest_cpus)
            if not exists(f"{folder}/{MANIFEST}"):
                cutting = wanted.cutting(config.clips, ingest.fps, loaded.streams)
                work = _work(ingest, config.resources, wanted, loaded, cutting, schema_of(shapes), shards[0])
                product = Product(work, make_store, Joiner(wanted.form, _renamed(layout)))
                tally = make_shards(replace(config, ingest=ingest), layout, write, product, KIND)
                rate = {"clips": tally.clips, "seconds": round(time.monotonic() - start, 1), "stages": tally.stages()}
                videos = _read_lists(folder, layout.names)
                about = {"columns": {name: list(shape) for name, shape in shapes.items()}, "rate": rate, "plan": plan}
                about |= {"labels": list(loaded.labels), "weights": loaded.origin}
                write_table(videos, f"{folder}/{VIDEOS_TABLE}")
                write_json(f"{folder}/{MANIFEST}", masked({**_counts(videos), **about}))
            remove(f"{folder}/{STAGING}")
        manifest = dict(read_json(f"{folder}/{MANIFEST}"))
    _check_failures(folder, manifest, config.ingest.max_failed)
    return manifest


def columns_of(loaded: Loaded, wanted: Wanted, clips: ClipsConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each column of a window's features, crops first if there are several.

    Raises:
        LayerError: a network cannot take such windows.
    """
    found, names = {}, Networks(loaded.networks, loaded.inputs, wanted.layers, wanted.pool)
    for network, shapes in loaded.shapes(wanted.windows, clips).items():
        for layer in wanted.layers:
            shape = shapes[layer][:1] if wanted.pool == "mean" else shapes[layer]
            found[names.column(network, layer)] = (wanted.crops, *shape) if wanted.crops > 1 else shape
    return found


@dataclass(frozen=True)
class Work:
    """The stage from a clip to its features; it is pickled to the tasks.

    Attributes:
        ingest: frame rate, size and limits of the frames.
        cutting: how views are cut.
        score: what computes features of views.
        compute: function that computes flow; None if the networks take none, or a shard set has it.
        schema: schema of the windows.
        shards: folder or URI of the shard set that has the clips; empty for videos.
    """

    ingest: IngestConfig
    cutting: Cutting
    score: Score
    compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None
    schema: pa.Schema
    shards: str

    def __call__(self, row: Row) -> Row:
        """Compute the features of a clip; an exception becomes its status, so one clip never stops a run."""
        if row["status"] == "failed":
            return row
        watch, spool = Stopwatch(), Spool(row, self.schema)
        try:
            made = persistently(lambda: self._extract(row, spool, watch))
        except Exception as error:  # a bug that one clip triggers is recorded too, under the name of its own class
            message = str(error) if isinstance(error, ClipError) else f"in {watch.stage}: {error}"
            failed = {"status": "failed", "error_class": type(error).__name__, "error_message": message}
            made = {**failed, "features": None}
        row = {name: value for name, value in row.items() if name != "content"}
        return {**row, **made, **{f"{stage}_s": seconds for stage, seconds in watch.seconds.items()}}

    def _extract(self, row: Row, spool: Spool, watch: Stopwatch) -> Row:
        streams = self.cutting.streams
        if self.shards:
            parts = stored(self.shards)(row, streams, watch)
        else:
            parts = decoded(row, self.ingest, streams, self.compute, watch)
        columns = extract(parts, self.cutting, self.score, spool, watch, row["start_s"] or 0.0)
        spool.close({**row, **columns})
        return {**columns, "features": spool.file}


def _work(
    ingest: IngestConfig,
    resources: ResourcesConfig,
    wanted: Wanted,
    loaded: Loaded,
    cutting: Cutting,
    schema: pa.Schema,
    shards: str,
) -> Work:
    devices = gpus(resources)
    computes = "flow" in loaded.streams and not shards
    flow = flow_of(ingest, resources, SHARED_GPU) if computes else None

    def compute(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = flow(frames, ingest.flow.backend, **ingest.flow.parameters)  # type: ignore[misc]
        return made

    networks = Networks(loaded.networks, loaded.inputs, wanted.layers, wanted.pool)
    score = scorer(networks, devices, SHARED_GPU if computes and ingest.flow.backend == "cuda" else 1.0)
    return Work(ingest, cutting, score, compute if computes else None, schema, shards)


def _renamed(layout: Layout) -> dict[str, str]:
    """Return the names of files for those clips whose own name another clip has too, be it in other letters."""
    rows = layout.clips.select(["clip_id", "source"]).to_pylist()
    names = [file_name(row) for row in rows]
    often = Counter(name.lower() for name in names)
    return {
        row["clip_id"]: f"{name}~{hashlib.sha256(row['clip_id'].encode()).hexdigest()[:8]}"
        for row, name in zip(rows, names, strict=True)
        if often[name.lower()] > 1
    }


def _read_lists(folder: str, names: Sequence[str]) -> pa.Table:
    with seen_by_all(folder, names), ThreadPoolExecutor(AT_ONCE) as pool:
        return pa.concat_tables(pool.map(lambda name: read_videos(list_of(folder, name)), names))


def _counts(videos: pa.Table) -> dict[str, Any]:
    good = videos.filter(pc.field("status") == "ok")
    failed = Counter(videos.filter(pc.field("status") == "failed")["error_class"].to_pylist())
    of_each = sorted(zip(good["clip_id"].to_pylist(), good["features_sha256"].to_pylist(), strict=True))
    return {
        "kind": KIND,
        "format_version": 1,
        "dataset": videos["dataset"][0].as_py(),
        "videos": {"expected": len(videos), "present": len(good), "failed": dict(failed.most_common())},
        "windows": pc.sum(good["windows"]).as_py() or 0,
        "frames": pc.sum(good["num_frames"]).as_py() or 0,
        "digest": hashlib.sha256(repr(of_each).encode()).hexdigest()[:16],
    }


def _check_failures(folder: str, manifest: dict[str, Any], allowed: float) -> None:
    counts = manifest["videos"]
    check_lost(
        folder,
        manifest,
        allowed,
        expected=counts["expected"],
        failed=counts["failed"],
        what="videos",
        complete="the features of the other {} are complete",
        table=VIDEOS_TABLE,
    )
