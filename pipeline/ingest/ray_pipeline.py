"""The stages in Ray Data, which write every clip of a catalog to its own file.

videos -> fetch or unpack -> clips -> convert -> store -> small status rows
          (own tasks)        (one function, clip by clip: what is made of a clip never becomes a block of Ray's)
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator

import ray

from pipeline import flow
from pipeline.config import Config
from pipeline.ingest.attempts import make_counted
from pipeline.ingest.clip_errors import ArchiveBroken, TarMemberMissing
from pipeline.ingest.fetch.archives import list_archives
from pipeline.ingest.fetch.limiter import cluster_limiter
from pipeline.ingest.gpu_flow import on_gpus
from pipeline.ingest.plan import gpus
from pipeline.ingest.progress_report import Tally
from pipeline.ingest.run_errors import check
from pipeline.ingest.stages import Row, Stage, make_convert
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


def stage_clips(config: Config, rows: list[Row], tally: Tally) -> None:
    """Write each clip to its own file in the staging folder, failed clips included."""
    kinds: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[kind_of(row)].append(row)
    if kinds["local"]:
        _run(config, dataset(local(kinds["local"]), 8), tally)
    if kinds["remote"]:
        fetch = make_fetch(config.ingest.fetch, cluster_limiter(config.ingest.fetch))
        fetched = dataset(remote(kinds["remote"]), 1).map(fetch, num_cpus=0, compute=_fetchers())
        _run(config, fetched, tally)
    if kinds["archived"]:
        _stage_archived(config, kinds["archived"], tally)


def _stage_archived(config: Config, rows: list[Row], tally: Tally) -> None:
    """Stage clips from archives: replacements first, because they override, then the clips' own archives.

    Clips that are in none of the archives are staged as failed.
    """
    settings, staging = config.ingest.fetch, f"{config.ingest.shards}/{STAGING}"
    replacements = config.catalog.archives.get("replacements")
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
                unpack = make_unpack(settings, ray.put(by_stem), staging)
                archives = [{"source": archive} for archive in list_archives(source, settings)]
                unpacked = dataset(archives, 1).flat_map(unpack, num_cpus=0, compute=_fetchers())
                broken += _run(config, unpacked, tally)
        there = set(list_files(staging))
        missing = [row for row in members if part_name(row["clip_id"]) not in there]
        if missing:
            _run(config, dataset(local(failed(row, _missing(row, broken)) for row in missing), 8), tally)


def _missing(row: Row, broken: list[Row]) -> ArchiveBroken | TarMemberMissing:
    """Return the error of a clip that was found in no archive; it may be in the unread part of a broken one."""
    where, stem = archives_of(row)
    if broken:
        return ArchiveBroken(f"{stem} was not met before an archive broke: {broken[0]['error_message']}")
    return TarMemberMissing(f"no member {stem} in the archives {where}")


def _run(config: Config, videos: ray.data.Dataset, tally: Tally) -> list[Row]:
    """Run videos through all stages and return the rows that report broken archives; these rows are not clips."""
    settings, staging = config.ingest, f"{config.ingest.shards}/{STAGING}"
    devices = gpus(config.resources) if "flow" in settings.streams and settings.flow.backend == "cuda" else 0
    compute = on_gpus(devices, config.resources.flow_gpu_gib) if devices else flow.tvl1
    work = make_counted(make_convert(settings, compute), make_store(staging), staging, uuid.uuid4().hex[:8])
    broken = []
    for row in videos.flat_map(_of_each_clip(work), num_cpus=config.resources.ingest_cpus).iter_rows():
        check(row["stopped"])
        if row["clip_id"] is None:
            broken.append(row)
        else:
            tally.add(row)
    return broken


def _of_each_clip(work: Stage) -> Callable[[Video], Iterator[Row]]:
    """Return the function that does the work on each clip of a video, one after the other."""

    def ingest_clips(video: Video) -> Iterator[Row]:
        for clip in clips_of(video):
            yield work(clip)

    return ingest_clips


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
