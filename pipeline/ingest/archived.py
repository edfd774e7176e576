"""Clips from archives: each archive is read once, and every good candidate of a clip is staged.

    archives -> unpack (own tasks) -> convert -> store -> small status rows

The clips of a shard lie in any archives, so no task has them all, and the shards are joined afterwards.
"""

from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from numpy.typing import NDArray

from pipeline.ingest.attempts import counted
from pipeline.ingest.candidates import Wanted, place_of, stem_of
from pipeline.ingest.clip_errors import ArchiveBroken, TarMemberMissing
from pipeline.ingest.fetch.archives import list_archives
from pipeline.ingest.ledger import Reporter
from pipeline.ingest.nodes import UNSEEN, blind_nodes
from pipeline.ingest.progress_report import Figures
from pipeline.ingest.ray_pipeline import Pipeline, dataset
from pipeline.ingest.remaining import Remaining
from pipeline.ingest.run_errors import check
from pipeline.ingest.stages import Row
from pipeline.ingest.staging import STAGING, folder_of, read_mark
from pipeline.ingest.videos import Video, clips_of, failed, make_unpack
from pipeline.storage import make_folder, write_json

CLIP_BYTES = 512 << 10
"""Bytes of a usual clip in an archive."""

LEAST, MOST = 8, 64
"""Number of usual clips in a block of unpacked videos; each block costs the driver some 20 ms."""

ROWS = 32
"""Blocks for each task that runs at the same time, so that no task is much slower than others."""

FAILURE = ("source", "error_class", "error_message")


def stage_archived(pipeline: Pipeline, remaining: Remaining) -> None:
    """Stage the clips from archives that are left, by the rule of `pipeline.ingest.candidates`.

    Clips that are in none of the archives are staged as failed.

    Raises:
        IngestError: a node does not see an archive that this process has listed.
        ClipError: archives cannot be listed.
    """
    layout, config = remaining.layout, pipeline.config
    numbers = np.flatnonzero(remaining.todo & layout.archived())
    if not len(numbers):
        return
    replacements = config.catalog.archives.get("replacements")
    places = np.array([place_of(source) for source in layout.clips["source"].take(pa.array(numbers)).to_pylist()])
    for where in dict.fromkeys(places.tolist()):
        sources = [list_archives(place, config.ingest.fetch) for place in (replacements, where) if place]
        archives = list(dict.fromkeys(archive for listed in sources for archive in listed))
        _stage_place(pipeline, archives, _wanted(remaining, numbers[places == where]))
        write_json(f"{config.ingest.shards}/{STAGING}/{read_mark(where)}", len(archives))


def _wanted(remaining: Remaining, numbers: NDArray[np.int64]) -> pa.Table:
    """Return the rows of clips with the columns of `pipeline.ingest.videos.make_unpack` and an empty status."""
    layout, shards = remaining.layout, remaining.layout.shard_numbers()[numbers]
    columns = {
        "shard": pa.array(layout.names).take(pa.array(shards)),
        "rank": pa.array([remaining.ranks.get(number) for number in numbers.tolist()], pa.string()),
        "status": pa.nulls(len(numbers), pa.string()),
    }
    clips = layout.clips.take(pa.array(numbers))
    for name, column in columns.items():
        clips = clips.append_column(name, column)
    return clips


def _stage_place(pipeline: Pipeline, archives: list[str], wanted: pa.Table) -> None:
    """Read the archives of a place, stage every good candidate, and then the clips that have none as failed."""
    good = set(wanted.filter(pc.is_valid(wanted["rank"]))["clip_id"].to_pylist())
    failures, broken = _stage_candidates(pipeline, archives, wanted, good)
    left = wanted.filter(pa.array([name not in good for name in wanted["clip_id"].to_pylist()], pa.bool_()))
    final: defaultdict[str, list[Row]] = defaultdict(list)
    for row in left.to_pylist():
        failure = failures.get(row["clip_id"]) or failed(row, _missing(row["source"], broken))
        final[row["shard"]].append({**row, **{name: failure[name] for name in FAILURE}})
    if final:
        pipeline.stage_failures(final)


def _stage_candidates(
    pipeline: Pipeline, archives: list[str], wanted: pa.Table, good: set[str]
) -> tuple[dict[str, Row], list[Row]]:
    """Read archives and stage every good candidate; add the ids of the clips that have one to `good`.

    Returns:
        For each clip with a failed candidate, the failure of the first one; and the rows that report broken archives.
    """
    broken, blind = list[Row](), list[str]()
    ranks: dict[str, str] = {}  # clip id to the rank of the first failed candidate
    failures: dict[str, Row] = {}
    with closing(_candidates(pipeline, archives, wanted)) as statuses:
        for status in statuses:
            name, figures = status["clip_id"], Figures()
            if name is None:
                broken.append(status)
                local_file = status["error_class"] in UNSEEN and "://" not in status["source"]
                if local_file and (blind := blind_nodes(status["source"], 0)):
                    break
                continue
            figures.add(status, counts=status["status"] == "ok" and name not in good)
            pipeline.tally.add(figures)
            if status["status"] == "ok":
                good.add(name)
            elif status["provisional"] and status["rank"] < ranks.get(name, "~"):
                ranks[name], failures[name] = status["rank"], {key: status[key] for key in FAILURE}
    if blind:
        pipeline.stop_for(blind, broken[-1]["source"])
    return failures, broken


def _candidates(pipeline: Pipeline, archives: list[str], wanted: pa.Table) -> Generator[Row]:
    """Yield the status row of each candidate in archives, and a row without a clip id for each broken archive."""
    shards = pipeline.config.ingest.shards
    product, ledger = pipeline.product, pipeline.ledger
    unpack = make_unpack(pipeline.config.ingest.fetch, ray.put(Wanted(wanted)), f"{shards}/{STAGING}")

    def ingest_clips(video: Video) -> Iterator[Row]:
        reporter = Reporter(ledger, figures=False)
        for clip in clips_of(video):
            folder = folder_of(shards, clip["shard"] or "")
            if clip["shard"]:
                make_folder(folder)
            yield counted(clip, product.work, product.store(folder), reporter)
            reporter.flush()

    listed: list[Video] = [{"source": archive, "number": number} for number, archive in enumerate(archives)]
    together = min(max(LEAST, len(wanted) // (ROWS * pipeline.slots)), MOST)
    unpacked = dataset(listed, together * CLIP_BYTES).flat_map(unpack, num_cpus=0, compute=_readers())
    for row in unpacked.flat_map(ingest_clips, num_cpus=pipeline.config.resources.ingest_cpus).iter_rows():
        check(row)
        yield row


def _missing(source: str, broken: list[Row]) -> ArchiveBroken | TarMemberMissing:
    """Return the error of a clip that was found in no archive; it may be in the unread part of a broken one."""
    if broken:
        first = min(broken, key=lambda report: report["source"])
        return ArchiveBroken(f"{stem_of(source)} was not met before an archive broke: {first['error_message']}")
    return TarMemberMissing(f"no video member {stem_of(source)} in the archives {place_of(source)}")


def _readers() -> ray.data.TaskPoolStrategy:
    """Return the pool of tasks that read archives: half as many as CPUs, at least 4.

    They mostly wait for the network, and Ray holds them back when decoding is slower.
    """
    return ray.data.TaskPoolStrategy(size=max(4, int(ray.cluster_resources().get("CPU", 1)) // 2))
