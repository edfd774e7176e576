"""One ingest from catalog to a complete shard set, restartable at any point.

    1. plan      the catalog and every setting, written first; a set made by another plan is refused
    2. stage     Ray Data: decode, flow, encode, one file a clip (1:1), written whole or not at all
    3. shards    Ray Data: the files of 64 clips become one shard (64:1), again whole or not at all
    4. manifest  counts, failures, bytes and digest, written last: now the set is readable

A clip counts as done when its file, or its shard, is there under its final name. So whatever is killed, and whenever,
the same command does what is left, and the result is the one of an uninterrupted run.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from pipeline import flow
from pipeline.config import Config, to_dict
from pipeline.ingest.gpu_flow import on_gpus
from pipeline.ingest.stages import make_decode, make_encode, make_flow, make_stage, part_name
from pipeline.progress import Progress
from pipeline.shards.manifest import MANIFEST, read_manifest, summarise, write_manifest
from pipeline.shards.schema import CLIPS_SCHEMA, SCALARS, SHARD_SCHEMA
from pipeline.shards.store import exists, list_files, make_folder, read_json, remove, write_json
from pipeline.shards.tables import read_table, write_table

PLAN = "_plan.json"
STAGING = "_staging"
NO_PROGRESS_TIMEOUT_S = 4 * 3600  # Ray's 1800 s would end a run whose clips are long and whose flow is slow


class IngestError(RuntimeError):
    """An ingest that cannot go on; one line, for the user."""


def ingest(config: Config, catalog: pa.Table, write: Callable[[str], object] | None = None) -> dict[str, Any]:
    """Make, or finish, the shard set of a catalog.

    Args:
        config: a resolved config; `config.ingest.shards` is the folder or URI of the set.
        catalog: rows of `pipeline.catalog.CATALOG_SCHEMA`.
        write: takes the lines of progress; stderr when None.

    Returns:
        The manifest.

    Raises:
        IngestError: the folder holds a set of another plan, or more clips failed than `ingest.max_failed` allows.
    """
    start, shards = time.monotonic(), config.ingest.shards
    if not len(catalog):
        raise IngestError(
            "the catalog is empty: nothing to ingest; check catalog.annotations, catalog.videos and splits"
        )
    config = _with_backend(config)
    plan = _plan(config, catalog)
    _claim(shards, plan)
    if not exists(f"{shards}/{MANIFEST}"):
        groups = _groups(catalog, config.ingest.clips_per_shard)
        _stage_clips(config, catalog, groups, write)
        _write_shards(shards, groups, config.resources.ingest_cpus, write)
        clips = pa.concat_tables(read_table(f"{shards}/{STAGING}/{name}.clips") for name in groups)
        write_manifest(shards, clips, summarise(clips, plan, time.monotonic() - start))
        remove(f"{shards}/{STAGING}")
    manifest = read_manifest(shards)
    _check_failures(shards, manifest, config.ingest.max_failed)
    return manifest


def _with_backend(config: Config) -> Config:
    """The config with `auto` made definite: what the set was begun with, else cuda where there are GPUs, else cpu.

    Raises:
        IngestError: clips are left to do with cuda, and the cluster has no GPU.
    """
    shards, asked = config.ingest.shards, config.ingest.flow.backend
    if asked == "auto":
        begun = read_json(f"{shards}/{PLAN}")["settings"]["flow"]["backend"] if exists(f"{shards}/{PLAN}") else None
        asked = begun or ("cuda" if _gpus(config) else "cpu")
    if asked == "cuda" and "flow" in config.ingest.streams and not _gpus(config) and not exists(f"{shards}/{MANIFEST}"):
        raise IngestError(
            f"{shards}: its flow is to be computed by cuda, and Ray has no GPU for it (resources.gpu is "
            f"{config.resources.gpu}); add one, or make another set with --ingest.flow.backend cpu --ingest.shards ..."
        )
    flow_config = replace(config.ingest.flow, backend=asked)
    return replace(config, ingest=replace(config.ingest, flow=flow_config))


def _gpus(config: Config) -> int:
    """GPUs that flow may use."""
    return 0 if config.resources.gpu == "no" else int(ray.cluster_resources().get("GPU", 0))


def _plan(config: Config, catalog: pa.Table) -> dict[str, Any]:
    """What decides the content of the set: clips and settings, not where it lies or how many workers make it."""
    settings = to_dict(config.ingest)
    for name in ("shards", "max_failed", "decode_timeout_s", "fetch"):
        del settings[name]
    rows = sorted(f"{row['clip_id']}\t{row['split']}\t{row['label']}" for row in catalog.to_pylist())
    return {
        "dataset": catalog["dataset"][0].as_py(),
        "clips": len(catalog),
        "catalog_digest": hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16],
        "settings": settings,
        "flow_version": flow.version(config.ingest.flow.backend) if "flow" in config.ingest.streams else None,
    }


def _claim(shards: str, plan: dict[str, Any]) -> None:
    """Write the plan, or check that the folder's plan is this one."""
    if not exists(f"{shards}/{PLAN}"):
        make_folder(f"{shards}/{STAGING}")
        write_json(f"{shards}/{PLAN}", plan)
        return
    there = _flat(read_json(f"{shards}/{PLAN}"))
    complete = exists(f"{shards}/{MANIFEST}")
    for name, wanted in _flat(plan).items():
        if name == "flow_version" and complete:  # nothing will be mixed
            continue
        if there.get(name) != wanted:
            raise IngestError(
                f"{shards}: made with {name} = {there.get(name)}, now asked for {wanted}; "
                "give another --ingest.shards, or delete that folder"
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _groups(catalog: pa.Table, size: int) -> dict[str, list[dict[str, Any]]]:
    """Which clips go into which shard: by split, in the order of a digest, so that every shard mixes the classes."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(catalog.to_pylist(), key=lambda row: part_name(row["clip_id"])):
        rows.setdefault(row["split"], []).append(row)
    return {
        f"{split}-{start // size:05d}": members[start : start + size]
        for split, members in sorted(rows.items())
        for start in range(0, len(members), size)
    }


def _stage_clips(
    config: Config, catalog: pa.Table, groups: dict[str, list[dict[str, Any]]], write: Callable[[str], object] | None
) -> None:
    """Stage every clip that is neither staged nor in a finished shard."""
    shards, settings = config.ingest.shards, config.ingest
    staging = f"{shards}/{STAGING}"
    there = set(list_files(staging))
    left = [
        {**row, "status": "failed" if row["error_class"] else None}
        for name, members in groups.items()
        if not _finished(shards, name)
        for row in members
        if part_name(row["clip_id"]) not in there
    ]
    progress = Progress("ingest", len(catalog), before=len(catalog) - len(left), write=write)
    if not left:
        return
    schema = pa.schema([*catalog.schema, pa.field("status", pa.string())])
    cpus = config.resources.ingest_cpus
    failed = 0
    rows = _dataset(pa.Table.from_pylist(left, schema=schema), rows_a_task=8)
    # Equal resources let Ray Data fuse the stages into one task: the frames, 65 MB a clip, never leave its process.
    rows = rows.map(make_decode(settings), num_cpus=cpus)
    if "flow" in settings.streams:
        gpus = _gpus(config) if settings.flow.backend == "cuda" else 0
        compute = on_gpus(gpus, config.resources.flow_gpu_gib) if gpus else flow.tvl1
        rows = rows.map(make_flow(settings, compute), num_cpus=cpus)
    rows = rows.map(make_encode(settings), num_cpus=cpus)
    rows = rows.map(make_stage(staging), num_cpus=cpus)
    for row in rows.iter_rows():
        failed += row["status"] == "failed"
        progress.advance(note=f"{failed} failed" if failed else "")


def _write_shards(
    shards: str, groups: dict[str, list[dict[str, Any]]], cpus: float, write: Callable[[str], object] | None
) -> None:
    """Make every shard whose clips are staged."""
    names = [name for name in groups if not _finished(shards, name)]
    if not names:
        return
    progress = Progress("shards", len(names), write=write)
    plan = pa.table({"name": names, "parts": [[part_name(row["clip_id"]) for row in groups[name]] for name in names]})

    def write_shard(row: dict[str, Any]) -> dict[str, Any]:
        return {"clips": _write_shard(shards, row["name"], list(row["parts"]))}

    for _ in _dataset(plan, rows_a_task=1).map(write_shard, num_cpus=cpus).iter_rows():
        progress.advance()


def _write_shard(shards: str, name: str, parts: list[str]) -> int:
    """Join staged clips into one shard; then, and only then, let go of them."""
    staging = f"{shards}/{STAGING}"
    table = pa.concat_tables(read_table(f"{staging}/{part}") for part in parts).cast(SHARD_SCHEMA)
    good = table.filter(pc.field("status") == "ok")
    positions = iter(range(len(good)))
    located = [
        {**row, **({"shard": f"{name}.parquet", "row_group": next(positions)} if row["status"] == "ok" else {})}
        for row in table.select([field.name for field in SCALARS]).to_pylist()
    ]
    if len(good):
        write_table(good, f"{shards}/{name}.parquet")
    write_table(pa.Table.from_pylist(located, schema=CLIPS_SCHEMA), f"{staging}/{name}.clips")
    for part in parts:
        remove(f"{staging}/{part}")
    return len(good)


def _finished(shards: str, name: str) -> bool:
    """A shard is finished when its list of clips is there, which is written after the shard itself."""
    return exists(f"{shards}/{STAGING}/{name}.clips")


def _dataset(table: pa.Table, rows_a_task: int) -> ray.data.Dataset:
    """A table as a dataset of small blocks: a task is a few clips, so that no worker waits for a straggler."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # `Progress` prints lines that a job log can hold
    context.print_on_execution_start = False
    context.execution_options.verbose_progress = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_TIMEOUT_S
    cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    size = max(1, min(rows_a_task, len(table) // (4 * cpus)))
    return ray.data.from_arrow([table.slice(start, size) for start in range(0, len(table), size)])


def _check_failures(shards: str, manifest: dict[str, Any], allowed: float) -> None:
    expected = sum(split["expected"] for split in manifest["splits"].values())
    present = sum(split["present"] for split in manifest["splits"].values())
    if expected - present > allowed * expected:
        raise IngestError(
            f"{shards}: {expected - present} of {expected} clips failed, "
            f"more than ingest.max_failed = {allowed:g} allows; their reasons are in _clips.parquet there"
        )
