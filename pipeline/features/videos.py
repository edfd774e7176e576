"""A catalog of the videos that a user names: files, folders, archives, addresses, lists of these, or a shard set."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.files import is_litter, named_videos
from pipeline.catalog.rows import (
    ARCHIVES,
    CATALOG_SCHEMA,
    VIDEO_EXTENSIONS,
    CatalogError,
    Clip,
    catalog_table,
    clip_id,
    shown,
)
from pipeline.config import ConfigError, FetchConfig
from pipeline.features.frames import STORED
from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.fetch.request import public
from pipeline.ingest.fetch.samples import read_samples
from pipeline.ingest.fetch.stores import files_below
from pipeline.shards import read_catalog
from pipeline.shards.manifest import MANIFEST
from pipeline.storage import exists

DATASET, SPLIT = "videos", "all"
LISTS = (".txt", ".lst", ".list")
TARS = (".tar", ".tar.gz", ".tgz")


def named_catalog(given: Sequence[str], settings: FetchConfig | None = None) -> pa.Table:
    """Return a catalog of videos without labels.

    A video that a user names twice is one clip. A video that is not there is a row with an error. The ids of videos in
    a single folder do not depend on where the folder is.

    Args:
        given: paths of files, folders and archives of videos, addresses of files and archives (https, s3, gs, az) and
            of folders (s3, gs, az), and text files with one of these a line.
        settings: limits of archives, which are read for the names of their videos; None for the usual ones.

    Raises:
        CatalogError: a list or archive cannot be read, or no video is named.
    """
    clips: dict[str, Clip] = {}
    root = Path(given[0]).absolute() if len(given) == 1 and Path(given[0]).is_dir() else None
    limits = settings or FetchConfig()
    for clip in itertools.chain.from_iterable(_clips(one, limits, root) for one in given):
        clips.setdefault(clip.clip_id, clip)
    if not clips:
        raise CatalogError(f"no video in {', '.join(given)}")
    return catalog_table(DATASET, clips.values())


def stored_catalog(shards: str) -> pa.Table:
    """Return the clips of a complete shard set as a catalog; `pipeline.features.frames.stored` reads its sources.

    Raises:
        ShardError: the set is not complete, or cannot be read.
    """
    clips = read_catalog(shards)
    place = pc.binary_join_element_wise(
        pa.scalar(STORED), clips["shard"].cast(pa.string()), pa.scalar("#"), clips["row_group"].cast(pa.string()), ""
    )
    sources = pc.if_else(pc.equal(clips["status"], "ok"), place, pa.scalar(None, pa.string()))
    clips = clips.set_column(clips.column_names.index("source"), "source", sources)
    return pa.table([clips[name] for name in CATALOG_SCHEMA.names], schema=CATALOG_SCHEMA)


def is_shard_set(given: str) -> bool:
    """Return whether a folder or address is one of a shard set."""
    return not given.lower().endswith(LISTS) and exists(f"{given}/{MANIFEST}")


def _clips(given: str, settings: FetchConfig, root: Path | None = None) -> Iterator[Clip]:
    if given.partition("?")[0].lower().endswith(TARS):
        yield from _archived(given, settings)
    elif "://" in given:
        for address in _addresses(given, settings):
            yield Clip(clip_id(DATASET, public(address.partition("?")[0])), SPLIT, None, address)
    elif given.lower().endswith(LISTS):
        for number, line in enumerate(_lines(given), 1):
            if line and not line.startswith("#"):
                try:
                    yield from _clips(str(Path(given).parent / line) if "://" not in line else line, settings)
                except RecursionError:
                    raise CatalogError(f"{given}, line {number}: a list that names itself") from None
    else:
        for path, problem in named_videos(given):
            video = Path(path).absolute()
            name = (video.relative_to(root) if root and video != root else video).as_posix()
            own = clip_id(DATASET, name.encode(errors="backslashreplace").decode())
            if problem is None:
                yield Clip(own, SPLIT, None, str(video))
            else:
                message = f"{shown(path, most=400)}: {problem}"
                bad = "FileNotFound" if problem == "no such file" else "BadRow"
                yield Clip(own, SPLIT, None, None, error_class=bad, error_message=message)


def _addresses(given: str, settings: FetchConfig) -> list[str]:
    """Return the address of a video, or those of all videos below a folder of an object store."""
    name = given.partition("?")[0]
    if name.rpartition(".")[2].lower() in VIDEO_EXTENSIONS or name.lower().startswith(("http://", "https://")):
        return [given]
    try:
        found = files_below(given, settings, _is_video)
    except ClipError as error:
        raise CatalogError(f"{public(given)}: {type(error).__name__}: {error}") from None
    if found == []:
        raise CatalogError(f"{public(given)}: no video in this folder")
    return found or [given]  # what is not there becomes a row with its error when it is fetched


def _is_video(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() in VIDEO_EXTENSIONS and not is_litter(name)


def _archived(given: str, settings: FetchConfig) -> Iterator[Clip]:
    """Yield the videos of an archive, whose names without folder and extension must differ."""
    where = given if "://" in given else str(Path(given).absolute())
    try:
        for sample in read_samples(where, settings):
            if sample.name:
                own = clip_id(DATASET, f"{public(where)}#{sample.stem}")
                if "#" in sample.stem:
                    message = f"{sample.archive}: {shown(sample.name, most=200)}: a name with #; rename it"
                    yield Clip(own, SPLIT, None, None, error_class="BadRow", error_message=message)
                else:
                    yield Clip(own, SPLIT, None, f"{ARCHIVES}{where}#{sample.stem}")
    except ClipError as error:
        raise CatalogError(f"{public(where)}: {type(error).__name__}: {error}") from None


def _lines(file: str) -> list[str]:
    try:
        return [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: {getattr(error, 'strerror', None) or 'a list is text in UTF-8'}") from None


def check_named(given: Sequence[str], catalog_fields: Sequence[str]) -> None:
    """Check that videos are named in one way only.

    Raises:
        ConfigError: there are none, or there are both names and a catalog.
    """
    if given and catalog_fields:
        raise ConfigError(f"{given[0]} and --{catalog_fields[0]}: give videos, or the fields of a catalog")
    if not given and not catalog_fields:
        raise ConfigError(
            "no videos: name files, folders, lists or addresses, or give --catalog.dataset and its fields"
        )
