"""The stages in Ray Data, which write every clip of a catalog to its own file.

videos -> fetch or unpack -> clips -> decode -> flow -> encode -> stage -> small status rows
          (own tasks)        (one task: Ray fuses stages of equal resources, so frames are not sent between tasks)
"""

from collections import defaultdict

import ray

from pipeline import flow
from pipeline.config import IngestConfig, ResourcesConfig
from pipeline.ingest.clip_errors import ArchiveBroken, TarMemberMissing
from pipeline.ingest.fetch.archives import list_archives
from pipeline.ingest.fetch.limiter import cluster_limiter
from pipeline.ingest.gpu_flow import on_gpus
from pipeline.ingest.plan import gpus
from pipeline.ingest.progress_report import Tally
from pipeline.ingest.run_errors import check
from pipeline.ingest.stages import Row, make_decode, make_encode, make_flow
from pipeline.ingest.staging import STAGING, make_store, part_name
from pipeline.ingest.videos import (
    Video,
    archives_of,
    clips_of,
    failed,
    kind_of,
    local,
    make_fetch,
    make_unpack,
    remote,
)
from pipeline.storage import list_files

NO_PROGRESS_TIMEOUT_S = 24 * 3600  # Ray's 1800 s would end a run with slow flow, or one that pauses for YouTube
CONTENT_BYTES = 4 << 20
"""Target bytes of a block of fetched videos: about eight clips, so that no decoding task is much slower than others."""


def stage_clips(
    settings: IngestConfig, resources: ResourcesConfig, replacements: str | None, rows: list[Row], tally: Tally
) -> None:
    """Write each clip to its own file in the staging folder, failed clips included.

    Args:
        settings: how clips are fetched, decoded and encoded.
        resources: CPUs and GPUs of the tasks.
        replacements: archives whose members override those of the same name in other archives; None for none.
        rows: the clips.
        tally: counts the clips that are staged.
    """
    kinds: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[kind_of(row)].append(row)
    if kinds["local"]:
        _run(settings, resources, dataset(local(kinds["local"]), 8), tally)
    if kinds["remote"]:
        fetch = make_fetch(settings.fetch, cluster_limiter(settings.fetch))
        fetched = dataset(remote(kinds["remote"]), 1).map(fetch, num_cpus=0, compute=_fetchers())
        _run(settings, resources, fetched, tally)
    if kinds["archived"]:
        _stage_archived(settings, resources, replacements, kinds["archived"], tally)


def _stage_archived(
    settings: IngestConfig, resources: ResourcesConfig, replacements: str | None, rows: list[Row], tally: Tally
) -> None:
    """Stage clips from archives: replacements first, because they override, then the clips' own archives.

    Clips that are in none of the archives are staged as failed.
    """
    staging = f"{settings.shards}/{STAGING}"
    left: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        left[archives_of(row)[0]].append(row)
    for where, members in left.items():
        broken: list[Row] = []
        for source in filter(None, [replacements, where]):
            there = set(list_files(staging))
            members = [row for row in members if part_name(row["clip_id"]) not in there]
            if members:
                by_stem = {archives_of(row)[1]: {**row, "source": source} for row in members}
                unpack = make_unpack(settings.fetch, ray.put(by_stem), staging)
                archives = [{"source": archive} for archive in list_archives(source, settings.fetch)]
                unpacked = dataset(archives, 1).flat_map(unpack, num_cpus=0, compute=_fetchers())
                broken += _run(settings, resources, unpacked, tally)
        there = set(list_files(staging))
        missing = [row for row in members if part_name(row["clip_id"]) not in there]
        if missing:
            lost = dataset(local(failed(row, _missing(row, broken)) for row in missing), 8)
            _run(settings, resources, lost, tally)


def _missing(row: Row, broken: list[Row]) -> ArchiveBroken | TarMemberMissing:
    """Return the error of a clip that was found in no archive; it may be in the unread part of a broken one."""
    where, stem = archives_of(row)
    if broken:
        return ArchiveBroken(f"{stem} was not met before an archive broke: {broken[0]['error_message']}")
    return TarMemberMissing(f"no member {stem} in the archives {where}")


def _run(settings: IngestConfig, resources: ResourcesConfig, videos: ray.data.Dataset, tally: Tally) -> list[Row]:
    """Run videos through all stages and return the rows that report broken archives; these rows are not clips."""
    cpus = resources.ingest_cpus
    rows = videos.flat_map(clips_of, num_cpus=cpus).map(make_decode(settings), num_cpus=cpus)
    if "flow" in settings.streams:
        devices = gpus(resources) if settings.flow.backend == "cuda" else 0
        compute = on_gpus(devices, resources.flow_gpu_gib) if devices else flow.tvl1
        rows = rows.map(make_flow(settings, compute), num_cpus=cpus)
    rows = rows.map(make_encode(settings), num_cpus=cpus)
    rows = rows.map(make_store(f"{settings.shards}/{STAGING}"), num_cpus=cpus)
    broken = []
    for row in rows.iter_rows():
        check(row["stopped"])
        if row["clip_id"] is None:
            broken.append(row)
        else:
            tally.add(row)
    return broken


def dataset(rows: list[Video], rows_a_task: int) -> ray.data.Dataset:
    """Return rows as a dataset of small blocks: a task has few clips, so that workers need not wait for slow tasks.

    Args:
        rows: at least one row.
        rows_a_task: largest number of rows in a block.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # `Progress` prints lines that suit a job log
    context.print_on_execution_start = False
    context.execution_options.verbose_progress = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_TIMEOUT_S
    context.target_max_block_size = CONTENT_BYTES
    cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    size = max(1, min(rows_a_task, len(rows) // (4 * cpus)))
    # from_items makes its blocks in this process; from_arrow and range would start a task with a whole CPU for each.
    return ray.data.from_items(rows, override_num_blocks=-(-len(rows) // size))


def _fetchers() -> ray.data.TaskPoolStrategy:
    """Return the pool of transfer tasks: half as many as CPUs, at least 4.

    They mostly wait for the network, and Ray holds them back when decoding is slower.
    """
    return ray.data.TaskPoolStrategy(size=max(4, int(ray.cluster_resources().get("CPU", 1)) // 2))
