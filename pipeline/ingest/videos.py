"""Grouping of clips by the video that holds them: a video is fetched once, and all its clips are cut from it.

Sources, and how each is read:

    /path                     a local file, which the decoder reads in place
    https://, s3://, gs://    a file, fetched whole into memory
    https://www.youtube.com/  a video, fetched by yt-dlp at the rate that the limiter allows
    archives:WHERE#STEM       the member STEM of one of the archives WHERE; each archive is read once, as a stream, and
                              `candidates.py` says which of several members counts

Fetched content stays in the memory of the task that decodes it. Only yt-dlp writes to disk, in a private folder.
"""

import contextlib
import json
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ray

from pipeline.catalog.rows import ARCHIVES, YOUTUBE
from pipeline.config import FetchConfig
from pipeline.ingest.candidates import Wanted, rank_of
from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.fetch.archives import read_archive
from pipeline.ingest.fetch.limiter import Limiter
from pipeline.ingest.fetch.stores import fetch
from pipeline.ingest.fetch.youtube import fetch_video
from pipeline.ingest.nodes import node_id
from pipeline.ingest.stages import Row
from pipeline.ingest.staging import part_name
from pipeline.storage import exists

Video = dict[str, Any]
"""A row with `source`, `content` (bytes; None for local files), `clips` (rows as JSON) and `fetch_s` (seconds)."""


def video(source: str | None, clips: list[Row], content: bytes | None = None, seconds: float = 0.0) -> Video:
    """Return one video as a row of a dataset.

    Its clips are stored as JSON, so that a column with only None does not lack a type.
    """
    return {"source": source, "content": content, "clips": json.dumps(clips), "fetch_s": seconds}


def clips_of(video: Video) -> Iterator[Row]:
    """Yield the clips of a video, each with the video's content; the first also gets the bytes and seconds fetched.

    A clip whose `unless` names a file that exists is left out: an earlier candidate for it is good.
    """
    fetched, seconds = len(video["content"] or b""), video["fetch_s"]
    for clip in json.loads(video["clips"]):
        earlier = clip.pop("unless", None)
        if earlier is not None and _there(earlier):
            continue
        clip.setdefault("node", node_id())
        yield {**clip, "content": video["content"], "fetched": fetched, "fetch_s": seconds}
        fetched, seconds = 0, 0.0


def local(rows: Iterable[Row]) -> list[Video]:
    """Return one video per clip, for local files and for clips that have failed already."""
    return [video(row["source"], [row]) for row in rows]


def remote(rows: Iterable[Row]) -> list[Video]:
    """Return each remote file once, with all its clips."""
    clips: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        clips[row["source"]].append(row)
    return [video(source, members) for source, members in clips.items()]


def kind_of(row: Row) -> str:
    """Return how a clip is read: `local`, `remote` or `archived`; failed clips count as `local`."""
    source = row["source"] or ""
    if row["status"] == "failed" or ("://" not in source and not source.startswith(ARCHIVES)):
        return "local"
    return "archived" if source.startswith(ARCHIVES) else "remote"


def make_fetch(settings: FetchConfig, limiter: Limiter) -> Callable[[Video], Video]:
    """Return a function that fetches a whole file; if that fails, it marks each of the file's clips as failed."""

    def fetch_content(one: Video) -> Video:
        start, source = time.monotonic(), one["source"]
        try:
            if source.startswith(YOUTUBE):
                content = fetch_video(source, settings, limiter, Path(tempfile.gettempdir()))
            else:
                content = fetch(source, settings)
        except ClipError as error:
            return video(source, [failed(clip, error) for clip in json.loads(one["clips"])])
        return {**one, "content": content, "fetch_s": time.monotonic() - start}

    return fetch_content


def make_unpack(settings: FetchConfig, wanted: Any, staging: str) -> Callable[[Row], Iterator[Video]]:
    """Return a function that reads an archive as a stream and yields the candidates in it that may become clips.

    Args:
        settings: settings of fetching.
        wanted: reference to a `Wanted` in Ray's object store; its rows have the columns `shard`, the name of the clip's
            shard, and `rank`, the rank of the candidate that an earlier run has staged, or None.
        staging: folder of staged clips.
    """

    def unpack(archive: Row) -> Iterator[Video]:
        start = time.monotonic()
        try:
            for clip, content in candidates(archive, ray.get(wanted), settings, staging):
                yield video(clip["source"], [clip], content, time.monotonic() - start)
                start = time.monotonic()
        except ClipError as error:
            empty = dict.fromkeys(ray.get(wanted).row(0))
            yield video(archive["source"], [failed({**empty, "source": archive["source"], "node": node_id()}, error)])

    return unpack


def candidates(archive: Row, wanted: Wanted, settings: FetchConfig, staging: str) -> Iterator[tuple[Row, bytes | None]]:
    """Yield the row and the content of each candidate in an archive, failed ones included.

    Candidates that come after one which is staged already are left out.

    Args:
        archive: its `source`, and its `number` in the list of archives.
        wanted: the clips.
        settings: settings of fetching.
        staging: folder of staged clips.
    """
    first = array("q", [-1]) * len(wanted)  # position of the first candidate for each clip in this archive
    for member in read_archive(archive["source"], wanted, settings):
        number = wanted.number(member.stem)
        row, rank = wanted.row(number), rank_of(archive["number"], member.position)
        if row["rank"] is not None and row["rank"] <= rank:
            continue
        clip = {**row, "source": f"{archive['source']}#{member.name}", "rank": rank}
        if first[number] >= 0:
            earlier = part_name(row["clip_id"], rank_of(archive["number"], first[number]))
            clip["unless"] = f"{staging}/{row['shard']}/{earlier}"
        else:
            first[number] = member.position
        yield (failed(clip, member.error) if member.error else clip), member.content


def failed(row: Row, error: ClipError) -> Row:
    """Return the row, marked as failed with this error."""
    return {**row, "status": "failed", "error_class": type(error).__name__, "error_message": str(error)}


def _there(file: str) -> bool:
    with contextlib.suppress(OSError):  # a store that is away costs the decoding of one more candidate
        return exists(file)
    return False
