"""Clips and the videos that hold them: a video is fetched once, wherever it lies, and all its clips are cut from it.

A source, and how it gets here:

    /path                     a local file: decoding reads it where it is
    https://, s3://, gs://    a file, fetched whole into memory
    https://www.youtube.com/  a video, fetched by yt-dlp as politely as the limiter says
    archives:WHERE#STEM       the member STEM of one of the archives WHERE, which are read as streams, once each

Content never touches a disk of ours: it goes as bytes to the task that decodes it.
"""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from pipeline.catalog.rows import ARCHIVES, YOUTUBE
from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.fetch.archives import read_archive
from pipeline.ingest.fetch.limiter import Limiter
from pipeline.ingest.fetch.stores import fetch
from pipeline.ingest.fetch.youtube import fetch_video
from pipeline.ingest.stages import Row, part_name
from pipeline.storage import exists

SCRATCH = "video-fetch"  # below the system's folder of temporary files: where yt-dlp writes

Video = dict[str, Any]
"""`source`, `content` (bytes, None for local files), `clips` (rows as JSON), `fetch_s`."""


def video(source: str | None, clips: list[Row], content: bytes | None = None, seconds: float = 0.0) -> Video:
    """One video as a row of a dataset; its clips travel as JSON, in which no column is without a type."""
    return {"source": source, "content": content, "clips": json.dumps(clips), "fetch_s": seconds}


def clips_of(video: Video) -> Iterator[Row]:
    """The clips of a video, each with the content, and the time of fetching with the first."""
    fetched, seconds = len(video["content"] or b""), video["fetch_s"]
    for clip in json.loads(video["clips"]):
        yield {**clip, "content": video["content"], "fetched": fetched, "fetch_s": seconds}
        fetched, seconds = 0, 0.0


def local(rows: Iterable[Row]) -> list[Video]:
    """Local files, and clips that have failed already: a clip each."""
    return [video(row["source"], [row]) for row in rows]


def remote(rows: Iterable[Row]) -> list[Video]:
    """Files elsewhere: each once, with all its clips."""
    clips: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        clips[row["source"]].append(row)
    return [video(source, members) for source, members in clips.items()]


def kind_of(row: Row) -> str:
    """`local`, `remote` or `archived`."""
    source = row["source"] or ""
    if row["status"] == "failed" or ("://" not in source and not source.startswith(ARCHIVES)):
        return "local"
    return "archived" if source.startswith(ARCHIVES) else "remote"


def make_fetch(settings: FetchConfig, limiter: Limiter) -> Callable[[Video], Video]:
    """Fetch a whole file; where that fails, its clips have failed, each on its own row."""

    def fetch_content(one: Video) -> Video:
        start, source = time.monotonic(), one["source"]
        try:
            if source.startswith(YOUTUBE):
                content = fetch_video(source, settings, limiter, Path(tempfile.gettempdir()) / SCRATCH)
            else:
                content = fetch(source, settings)
        except ClipError as error:
            return video(source, [failed(clip, error) for clip in json.loads(one["clips"])])
        return {**one, "content": content, "fetch_s": time.monotonic() - start}

    return fetch_content


def make_unpack(settings: FetchConfig, wanted: Any, staging: str) -> Callable[[Row], Iterator[Video]]:
    """Read an archive as a stream and hand on the members that are wanted and not yet staged.

    Args:
        settings: the settings of fetching.
        wanted: reference to the rows in Ray's object store, by their stems.
        staging: folder of staged clips.
    """

    def unpack(archive: Row) -> Iterator[Video]:
        rows: Mapping[str, Row] = ray.get(wanted)
        start = time.monotonic()
        try:
            for member in read_archive(archive["source"], rows, settings):
                row = {**rows[member.stem], "source": f"{archive['source']}#{member.name}"}
                if exists(f"{staging}/{part_name(row['clip_id'])}"):
                    continue
                clip = failed(row, member.error) if member.error else row
                yield video(row["source"], [clip], member.content, time.monotonic() - start)
                start = time.monotonic()
        except ClipError as error:
            yield video(archive["source"], [failed(dict.fromkeys(row_names(rows)), error)])

    return unpack


def row_names(rows: Mapping[str, Row]) -> list[str]:
    """The names of a row's columns: of a row without a clip, which tells of a broken archive."""
    return list(next(iter(rows.values())))


def failed(row: Row, error: ClipError) -> Row:
    """A row that has failed."""
    return {**row, "status": "failed", "error_class": type(error).__name__, "error_message": str(error)}


def archives_of(row: Row) -> tuple[str, str]:
    """WHERE and STEM of an archived row."""
    where, _, stem = row["source"].removeprefix(ARCHIVES).rpartition("#")
    return where, stem
