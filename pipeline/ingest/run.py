"""One ingest from a catalog to a complete shard set, which can be restarted at any point.

    1. plan      the catalog and every setting, written first; a set made by another plan is refused
    2. stage     Ray Data: fetch, decode, flow, encode; one file per clip (1:1), written atomically
    3. shards    Ray Data: the files of 64 clips become one shard (64:1), again written atomically
    4. manifest  counts, failures, bytes and digest, written last; the set is readable from then on

A clip counts as done when its file, or its shard, exists under its final name (`staging.py`). So if the run is killed
at any time, the same command does the remaining work, and the result is the same as that of an uninterrupted run.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from pipeline import console
from pipeline.catalog import catalog_classes, catalog_notes
from pipeline.config import Config
from pipeline.ingest.decode.child_process import jail_in_force
from pipeline.ingest.leaks import check_contents, check_videos
from pipeline.ingest.plan import claim, plan_of, with_backend
from pipeline.ingest.progress_report import Tally
from pipeline.ingest.ray_pipeline import dataset, stage_clips
from pipeline.ingest.retry import chosen_by, reopen
from pipeline.ingest.run_errors import IngestError, check, explained, stopped
from pipeline.ingest.staging import STAGING, finished, list_of, part_name
from pipeline.ingest.write_shards import Groups, groups_of, write_shard
from pipeline.interruptions import Interrupted
from pipeline.masking import masked
from pipeline.progress import Progress
from pipeline.shards.manifest import MANIFEST, read_manifest, summarise, write_manifest
from pipeline.shards.tables import read_table
from pipeline.storage import exists, list_files, remove

__all__ = ["IngestError", "ingest"]

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
        IngestError: the catalog is empty; the folder holds a set of another plan; more clips failed than
            `ingest.max_failed` allows; a video, or the same packets, is in two splits and `ingest.allow_leaks` is not
            set; or the disk, the store or the cluster failed.
    """
    start, shards = time.monotonic(), config.ingest.shards
    if not len(catalog):
        raise IngestError(
            "the catalog is empty: nothing to ingest; check catalog.annotations, catalog.videos and splits"
        )
    chosen = chosen_by(config.retry)
    check_videos(catalog, config.ingest.allow_leaks)
    with explained(shards):
        config = with_backend(config)
        plan = plan_of(config.ingest, catalog)
        claim(shards, plan)
        groups = groups_of(catalog, config.ingest.clips_per_shard)
        if config.retry:
            reopen(shards, groups, chosen)
        if not exists(f"{shards}/{MANIFEST}"):
            tally = _stage(config, len(catalog), groups, write)
            with _says_what_stays(shards, tally):
                _write_shards(shards, groups, config.resources.ingest_cpus, write)
            clips = pa.concat_tables(read_table(list_of(shards, name)) for name in groups)
            rate = {"clips": tally.clips, "seconds": round(time.monotonic() - start, 1), "stages": tally.stages()}
            made = summarise(clips, plan, rate, catalog_notes(catalog), catalog_classes(catalog))
            write_manifest(shards, clips, masked(made))
        if exists(f"{shards}/{STAGING}"):
            remove(f"{shards}/{STAGING}")
        manifest = read_manifest(shards)
    _check_failures(shards, manifest, config.ingest.max_failed)
    check_contents(shards, manifest, config.ingest.allow_leaks)
    return manifest


def _stage(config: Config, total: int, groups: Groups, write: Write | None) -> Tally:
    """Stage every clip that is neither staged nor in a finished shard, and return the counts."""
    shards = config.ingest.shards
    there = set(list_files(f"{shards}/{STAGING}"))
    left = [
        {**row, "status": "failed" if row["error_class"] else None}
        for name, members in groups.items()
        if not finished(shards, name)
        for row in members
        if part_name(row["clip_id"]) not in there
    ]
    (write or console.say)(f"decoders are jailed by: {jail_in_force()} (pipeline/threats.md)")
    tally = Tally(total, before=total - len(left), write=write)
    with _says_what_stays(shards, tally):
        stage_clips(config, left, tally)
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


def _write_shards(shards: str, groups: Groups, cpus: float, write: Write | None) -> None:
    """Write every shard that is not finished; its clips must be staged."""
    names = [name for name in groups if not finished(shards, name)]
    if not names:
        return
    progress = Progress("shards", len(names), write=write)
    plan = [{"name": name, "parts": [part_name(row["clip_id"]) for row in groups[name]]} for name in names]

    def write_one(row: dict[str, Any]) -> dict[str, Any]:
        return {"stopped": stopped(lambda: write_shard(shards, row["name"], list(row["parts"])))}

    for row in dataset(plan, rows_a_task=1).map(write_one, num_cpus=cpus).iter_rows():
        check(row["stopped"])
        progress.advance()


def _check_failures(shards: str, manifest: dict[str, Any], allowed: float) -> None:
    expected = sum(split["expected"] for split in manifest["splits"].values())
    present = sum(split["present"] for split in manifest["splits"].values())
    if expected - present > allowed * expected:
        raise IngestError(
            f"{shards}: {expected - present} of {expected} clips failed, "
            f"more than ingest.max_failed = {allowed:g} allows; their reasons are in _clips.parquet there"
        )
