"""The stages in Ray Data, which write every clip of a catalog to its own file.

videos -> fetch or unpack -> clips -> convert -> store -> small status rows
          (own tasks)        (one function, clip by clip: what is made of a clip never becomes a block of Ray's)
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, NoReturn

import ray

from pipeline import flow
from pipeline.config import Config
from pipeline.ingest.attempts import make_counted
from pipeline.ingest.candidates import Wanted, archives_of
from pipeline.ingest.clip_errors import ArchiveBroken, TarMemberMissing
from pipeline.ingest.fetch.archives import list_archives
from pipeline.ingest.fetch.limiter import cluster_limiter
from pipeline.ingest.gpu_flow import on_gpus
from pipeline.ingest.nodes import NODE_LABEL, UNSEEN, another, blind_nodes, named
from pipeline.ingest.plan import gpus
from pipeline.ingest.progress_report import Tally
from pipeline.ingest.run_errors import IngestError, check
from pipeline.ingest.stages import Row, Stage, make_convert
from pipeline.ingest.staging import STAGING, make_store, part_name, read_mark, staged
from pipeline.ingest.videos import (
    Video,
    clips_of,
    failed,
    kind_of,
    local,
    make_fetch,
    make_unpack,
    remote,
)
from pipeline.storage import write_json

FAILURE = ("source", "status", "error_class", "error_message")

NO_PROGRESS_TIMEOUT_S = 24 * 3600  # Ray's 1800 s would end a run with slow flow, or one that pauses for YouTube
CONTENT_BYTES = 4 << 20
"""Target bytes of a block of fetched videos: about eight clips, so that no decoding task is much slower than others."""


def stage_clips(config: Config, rows: list[Row], tally: Tally) -> None:
    """Write each clip to its own file in the staging folder, failed clips included.

    Raises:
        IngestError: a node does not see the files that this process has listed.
        ClipError: archives cannot be listed.
    """
    kinds: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[kind_of(row)].append(row)
    if kinds["local"]:
        _stage_local(config, kinds["local"], tally)
    if kinds["remote"]:
        fetch = make_fetch(config.ingest.fetch, cluster_limiter(config.ingest.fetch))
        fetched = dataset(remote(kinds["remote"]), 1).map(fetch, num_cpus=0, compute=_fetchers())
        for status in _run(config, fetched):
            tally.add(status)
    if kinds["archived"]:
        _stage_archived(config, kinds["archived"], tally)


def _stage_local(config: Config, rows: list[Row], tally: Tally) -> None:
    """Stage clips from local files. A listed file that a worker does not find is looked for again before it counts."""
    lost: set[str] = set()
    blind: list[str] = []
    with closing(_run(config, dataset(local({**row, "listed": row["status"] is None} for row in rows), 8))) as statuses:
        for status in statuses:
            if not status["provisional"]:
                tally.add(status)
                continue
            lost.add(status["clip_id"])
            if blind := blind_nodes(status["source"], config.resources.ingest_cpus):
                break
    again = [row for row in rows if row["clip_id"] in lost]
    if blind:
        _stop_for(config, blind, status["source"], again, tally)
    if again:  # the file is nowhere now, or a network disk had not shown it yet
        for status in _run(config, dataset(local(again), 8)):
            tally.add(status)


def _stop_for(config: Config, blind: list[str], source: str, clips: list[Row], tally: Tally) -> NoReturn:
    """Try clips on a node that sees their files, and end the run with the names of the nodes that do not."""
    seeing = another(blind, config.resources.ingest_cpus)
    if clips and seeing is not None:
        for status in _run(config, dataset(local({**clip, "listed": True} for clip in clips), 8), seeing):
            if not status["provisional"]:
                tally.add(status)
    names = ", ".join(named(node) for node in blind)
    raise IngestError(
        f"{config.ingest.shards}: {source} is there, but not on the node{'s' * (len(blind) > 1)} {names}; mount its "
        "folder there under the same path, or take the node out of the cluster; what is finished stays, and the same "
        "command goes on from there"
    )


def _stage_archived(config: Config, rows: list[Row], tally: Tally) -> None:
    """Stage clips from archives by the rule of `pipeline.ingest.candidates`.

    Clips that are in none of the archives are staged as failed.
    """
    replacements = config.catalog.archives.get("replacements")
    places: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        places[archives_of(row)[0]].append(row)
    for where, members in places.items():
        sources = [list_archives(place, config.ingest.fetch) for place in (replacements, where) if place]
        archives = list(dict.fromkeys(archive for listed in sources for archive in listed))
        bad, broken = _stage_candidates(config, archives, members, tally)
        there = staged(config.ingest.shards)
        left = [row for row in members if part_name(row["clip_id"]) not in there]
        if left:
            final = (
                {**row, **bad[row["clip_id"]]} if row["clip_id"] in bad else failed(row, _missing(row, broken))
                for row in left
            )
            for status in _run(config, dataset(local(final), 8)):
                tally.add(status)
        write_json(f"{config.ingest.shards}/{STAGING}/{read_mark(where)}", len(archives))


def _stage_candidates(
    config: Config, archives: list[str], rows: list[Row], tally: Tally
) -> tuple[dict[str, Row], list[Row]]:
    """Read archives and stage every good candidate.

    Returns:
        For each clip with a failed candidate, the failure of the first one; and the rows that report broken archives.
    """
    broken: list[Row] = []
    blind: list[str] = []
    ranks: dict[str, str] = {}  # clip id to the rank of the first failed candidate
    failures: dict[str, Row] = {}
    counted = {row["clip_id"] for row in rows if row["rank"]}
    unpack = make_unpack(config.ingest.fetch, ray.put(Wanted(rows)), f"{config.ingest.shards}/{STAGING}")
    listed: list[Video] = [{"source": archive, "number": number} for number, archive in enumerate(archives)]
    unpacked = dataset(listed, 1).flat_map(unpack, num_cpus=0, compute=_fetchers())
    with closing(_run(config, unpacked)) as statuses:
        for status in statuses:
            name = status["clip_id"]
            if name is None:
                broken.append(status)
                local_file = status["error_class"] in UNSEEN and "://" not in status["source"]
                if local_file and (blind := blind_nodes(status["source"], 0)):
                    break
            elif status["status"] == "ok" and name not in counted:
                counted.add(name)
                tally.add(status)
            else:
                tally.add_work(status)
                if status["provisional"] and status["rank"] < ranks.get(name, "~"):
                    ranks[name], failures[name] = status["rank"], {key: status[key] for key in FAILURE}
    if blind:
        _stop_for(config, blind, broken[-1]["source"], [], tally)
    return failures, broken


def _missing(row: Row, broken: list[Row]) -> ArchiveBroken | TarMemberMissing:
    """Return the error of a clip that was found in no archive; it may be in the unread part of a broken one."""
    where, stem = archives_of(row)
    if broken:
        first = min(broken, key=lambda report: report["source"])
        return ArchiveBroken(f"{stem} was not met before an archive broke: {first['error_message']}")
    return TarMemberMissing(f"no video member {stem} in the archives {where}")


def _run(config: Config, videos: ray.data.Dataset, node: str | None = None) -> Generator[Row]:
    """Do all the work on the clips of videos and yield their status rows, in any order.

    Args:
        config: a resolved config.
        videos: rows of the kind `Video`.
        node: id of the node that runs the tasks; None for all nodes.
    """
    settings, staging = config.ingest, f"{config.ingest.shards}/{STAGING}"
    devices = gpus(config.resources) if "flow" in settings.streams and settings.flow.backend == "cuda" else 0
    compute = on_gpus(devices, config.resources.flow_gpu_gib) if devices else flow.tvl1
    work = make_counted(make_convert(settings, compute), make_store(staging), staging, uuid.uuid4().hex[:8])
    task: dict[str, Any] = {"num_cpus": config.resources.ingest_cpus}
    if node is not None:
        task["label_selector"] = {NODE_LABEL: node}
    for row in videos.flat_map(_of_each_clip(work), **task).iter_rows():
        check(row["stopped"])
        yield row


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
