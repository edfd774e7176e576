"""Listing of the samples of WebDataset archives: their videos by name, and the small texts beside them."""

from collections.abc import Iterator

from pipeline.catalog.rows import VIDEO_EXTENSIONS
from pipeline.catalog.webdataset import Sample
from pipeline.config import FetchConfig
from pipeline.ingest.fetch.archives import list_archives
from pipeline.ingest.fetch.request import public
from pipeline.ingest.fetch.stores import open_source
from pipeline.ingest.fetch.tape import Tape
from pipeline.ingest.fetch.tar import FILE, headers

TEXTS = ("cls", "json", "txt")
LARGEST_TEXT = 1 << 20
"""Largest number of bytes of a text that is read."""


def read_samples(where: str, settings: FetchConfig) -> Iterator[Sample]:
    """Yield the samples of a set of archives, in order; each archive is read once.

    A sample is consecutive members with the same key. Member names are compared, and never used as paths. What is
    neither a plain file nor of a known extension is skipped; the video of a sample has one extension, so `a.flow.mp4`
    is none.

    Args:
        where: an archive, a folder of archives or a list of them; see `list_archives`.
        settings: limits and number of tries.

    Raises:
        ClipError: there is no archive, or one cannot be read to its end.
    """
    for archive in list_archives(where, settings):
        yield from _of_archive(archive, settings)


def _of_archive(archive: str, settings: FetchConfig) -> Iterator[Sample]:
    name = public(archive)
    key, video, texts = "", "", dict[str, str | None]()
    with open_source(archive, settings) as file:
        tape = Tape(file, name, settings.max_archive_gib)
        for header in headers(tape):
            folder, slash, last = header.name.rpartition("/")
            stem, _, extension = last.partition(".")
            if header.kind != FILE or not stem:
                continue
            if (coming := f"{folder}{slash}{stem}") != key:
                if key and (video or texts):
                    yield Sample(name, video, _stem(video), texts)
                key, video, texts = coming, "", {}
            extension = extension.lower()
            if extension in VIDEO_EXTENSIONS:
                video = video or header.name
            elif extension in TEXTS and extension not in texts:
                texts[extension] = _text(tape.read(header.size)) if header.size <= LARGEST_TEXT else None
        if key and (video or texts):
            yield Sample(name, video, _stem(video), texts)


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _text(content: bytes) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
