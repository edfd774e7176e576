"""One ingest from a catalog to a complete shard set, which can be restarted at any point.

    1. plan      the catalog and every setting, written first; a set made by another plan is refused
    2. stage     Ray Data: fetch, decode, flow, encode; one file per clip (1:1), written atomically
    3. shards    the task that has staged the 64 clips of a shard joins them (64:1), again atomically
    4. manifest  counts, failures, bytes and digest, written last; the set is readable from then on

A clip counts as done when its file, or its shard, exists under its final name (`staging.py`). So if the run is killed
at any time, the same command does the remaining work, and the result is the same as that of an uninterrupted run.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pipeline import console
from pipeline.catalog import catalog_classes, catalog_notes
from pipeline.config import Config
from pipeline.ingest.archived import stage_archived
from pipeline.ingest.decode.child_process import jail_in_force
from pipeline.ingest.folder_lock import only_ingest
from pipeline.ingest.layout import Layout, layout_of
from pipeline.ingest.leaks import check_contents, check_videos
from pipeline.ingest.lists import read_lists
from pipeline.ingest.plan import claim, plan_of, with_backend
from pipeline.ingest.product import Product
from pipeline.ingest.progress_report import Tally
from pipeline.ingest.ray_pipeline import Pipeline
from pipeline.ingest.remaining import Remaining
from pipeline.ingest.replaced import CHANGED, replaced
from pipeline.ingest.retry import Chosen, chosen_by, recorded_classes, reopen
from pipeline.ingest.run_errors import IngestError, LostClipsError, check_lost, explained
from pipeline.ingest.staging import STAGING, list_staging
from pipeline.interruptions import Interrupted
from pipeline.masking import masked
from pipeline.progress import Progress
from pipeline.shards.manifest import CLIPS, MANIFEST, read_manifest, summarise, write_manifest
from pipeline.storage import exists, make_folder, remove, remove_unfinished

__all__ = ["IngestError", "LostClipsError", "ingest"]

Write = Callable[[str], object]


def ingest(config: Config, catalog: pa.Table, write: Write | None = None) -> dict[str, Any]:
    """Make the shard set of a catalog, or finish one that an earlier run began.

    Args:
        config: a resolved config; `config.ingest.shards` is the folder or URI of the set.
        catalog: rows of `pipeline.catalog.CATALOG_SCHEMA`.
        write: function that takes the lines of progress; if None, they go to the console.

    Returns:
        The manifest.

    Raises:
        IngestError: the catalog is empty; another ingest works in the folder, or it holds a set of another plan; a
            video, or the same packets, is in two splits and `ingest.allow_leaks` is not set; or the disk, the store or
            the cluster failed.
        LostClipsError: more clips failed than `ingest.max_failed` allows; the set is complete with the others.
    """
    start, shards = time.monotonic(), config.ingest.shards
    if not len(catalog):
        raise IngestError(
            "the catalog is empty: nothing to ingest; check catalog.annotations, catalog.videos and splits"
        )
    check_videos(catalog, config.ingest.allow_leaks)
    with explained(shards):
        chosen = chosen_by(config.retry, lambda: recorded_classes(shards))
        config = replace(config, ingest=with_backend(config.ingest, config.resources))
        plan = plan_of(config.ingest, catalog)
        if exists(f"{shards}/{MANIFEST}") and not config.retry:
            claim(shards, plan)
        else:
            make_folder(shards)
            with only_ingest(shards):
                _complete(config, catalog, plan, chosen, start, write)
        if exists(f"{shards}/{STAGING}"):
            remove(f"{shards}/{STAGING}")
        manifest = read_manifest(shards)
    _check_failures(shards, manifest, config.ingest.max_failed)
    check_contents(shards, manifest, config.ingest.allow_leaks)
    return manifest


def _complete(
    config: Config, catalog: pa.Table, plan: dict[str, Any], chosen: Chosen, start: float, write: Write | None
) -> None:
    """Do what is left of the set, under its lock."""
    shards = config.ingest.shards
    remove_unfinished(shards)
    claim(shards, plan)
    cpus = config.resources.ingest_cpus
    layout = layout_of(catalog, config.ingest.clips_per_shard)
    if config.retry:
        reopen(shards, layout, plan, chosen, _changed(shards, config.retry), cpus)
    if exists(f"{shards}/{MANIFEST}"):
        return
    tally = make_shards(config, layout, write)
    clips = read_lists(shards, layout.names, cpus)
    rate = {"clips": tally.clips, "seconds": round(time.monotonic() - start, 1), "stages": tally.stages()}
    made = summarise(clips, plan, rate, catalog_notes(catalog), catalog_classes(catalog))
    write_manifest(shards, clips, masked(made))


def _changed(shards: str, retry: Collection[str]) -> list[str]:
    """Return the ids of the clips whose files were replaced, if `--retry` names them."""
    return replaced(shards) if CHANGED in retry and exists(f"{shards}/{MANIFEST}") else []


def make_shards(
    config: Config, layout: Layout, write: Write | None, product: Product | None = None, what: str = "ingest"
) -> Tally:
    """Make every shard that is not finished, and return the counts.

    Args:
        config: a resolved config; `config.ingest.shards` is the folder or URI, whose lock this process holds.
        layout: the layout of the set.
        write: see `ingest`.
        product: what is made of the clips; encoded clips if it is None.
        what: name of the run in its lines of progress.
    """
    shards, staged = config.ingest.shards, list_staging(config.ingest.shards)
    (write or console.say)(f"decoders are jailed by: {jail_in_force()} (pipeline/threats.md)")
    remaining = Remaining(layout, staged)
    tally = Tally(len(layout), before=remaining.done(), write=write, what=what)
    open_ = {layout.names[shard] for shard in remaining.shards}
    if not open_:
        return tally
    with _says_what_stays(shards, tally), tally.heard():
        pipeline = Pipeline(config, tally, product)
        tally.add(remaining.unusable())
        open_ -= pipeline.make_shards(remaining)
        stage_archived(pipeline, remaining)
        tally.end()
        if open_:
            progress = Progress("shards", len(open_), write=write)
            for joined in pipeline.join_shards(layout, open_):
                progress.advance(joined)
    return tally


@contextmanager
def _says_what_stays(shards: str, tally: Tally) -> Iterator[None]:
    """Turn Ctrl-C into an `Interrupted` whose message says how many clips are done.

    Raises:
        Interrupted: the user pressed Ctrl-C; the clips that are done stay in the folder.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{tally.done} of {tally.total} clips are done in {shards}") from stop


def _check_failures(shards: str, manifest: dict[str, Any], allowed: float) -> None:
    splits = manifest["splits"].values()
    check_lost(
        shards,
        manifest,
        allowed,
        expected=sum(split["expected"] for split in splits),
        failed=sum((Counter(split["failed"]) for split in splits), Counter()),
        what="clips",
        complete="the set is complete with the other {}",
        table=CLIPS,
    )
