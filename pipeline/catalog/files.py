"""Finding the video files below a folder."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.catalog.rows import VIDEO_EXTENSIONS, CatalogError, shown

LITTER = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
"""Folders that systems and archive programs leave beside a user's own."""


class VideoFile(NamedTuple):
    """An absolute path, and the reason why the file cannot be used, or None."""

    path: str
    problem: str | None = None


def video_files(root: str | os.PathLike[str], others: Counter[str] | None = None) -> Iterator[VideoFile]:
    """Yield every video below `root`, in sorted order.

    Hidden files and folders (those with a leading dot, such as temporary downloads and AppleDouble files) are skipped,
    and so are the folders of `LITTER`.
    A symbolic link to a video below `root` is yielded. A link that leaves `root` is yielded with a problem, so that a
    data set cannot read files outside its folder. A link to a folder below `root` is skipped, since the walk finds that
    folder anyway.

    Args:
        root: The folder.
        others: If given, it counts the files that are skipped because of their extension, by extension.

    Raises:
        CatalogError: `root` is not a folder, or a folder below it cannot be read.
    """
    top = os.path.abspath(root)  # noqa: PTH100 -- keeps the user's own path if `root` is itself a link
    if not Path(top).is_dir():
        raise CatalogError(f"{top}: no such folder of videos; give the folder that holds them")
    others = Counter() if others is None else others
    yield from _walk(top, os.path.join(os.path.realpath(top), ""), others)  # noqa: PTH118 -- with a separator at the end


def named_videos(given: str | os.PathLike[str]) -> list[VideoFile]:
    """Return the video that a user names, or those below a folder, each with its problem; there is always one or more.

    Nothing is raised, so that what is wrong with one name costs no other. Links are followed to files that they name.
    """
    path = Path(given)
    if not path.is_dir():
        problem = None if path.is_file() else "not a file" if path.exists() else "no such file"
        return [VideoFile(str(path), problem)]
    try:
        found = list(video_files(path))
    except CatalogError as error:
        return [VideoFile(str(path), str(error))]
    files = [each if Path(each.path).is_dir() else named_videos(each.path)[0] for each in found]
    return files or [VideoFile(str(path), "no video in this folder")]


def is_litter(name: str) -> bool:
    """Return whether a file or folder is hidden or was left there by a system, so that no user means it."""
    return name.startswith(".") or name in LITTER


def same_name(name: str) -> str:
    """Return a file name in the form NFC of Unicode; a disk of macOS has names in NFD, and lists are often in NFC."""
    return unicodedata.normalize("NFC", name)


def by_stem(videos: Iterable[VideoFile], folders: int = 0) -> dict[str, VideoFile]:
    """Index files by their name without extension; of files with equal names, keep the first usable one.

    Readers look up the names from annotations in this dict, as `same_name` gives them, and never join them to a path.

    Args:
        videos: Files from `video_files`.
        folders: Number of parent folders that belong to a file's name: 1 gives `CLASS/NAME`.
    """
    found: dict[str, VideoFile] = {}
    for video in videos:
        name = "/".join(video.path.rsplit(os.sep, folders + 1)[-folders - 1 :])
        stem = same_name(os.path.splitext(name)[0])  # noqa: PTH122
        if stem not in found or (found[stem].problem is not None and video.problem is None):
            found[stem] = video
    return found


def left_out(others: Counter[str]) -> list[str]:
    """Return a note on files that `video_files` skipped because of their extension, if there are any."""
    if not others:
        return []
    kinds = [f"{count} {shown(ending) if ending else 'without one'}" for ending, count in others.most_common(5)]
    return [f"{others.total()} files are left out, since their extension is none of a video: {', '.join(kinds)}"]


def _walk(folder: str, real_root: str, others: Counter[str]) -> Iterator[VideoFile]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise CatalogError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    for entry in listed:
        if is_litter(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, real_root, others)
        elif entry.is_symlink():
            yield from _link(entry, real_root)
        elif _is_video(entry.name):
            yield _checked(entry.path)
        else:
            others[os.path.splitext(entry.name)[1].lower()] += 1  # noqa: PTH122


def _link(entry: "os.DirEntry[str]", real_root: str) -> Iterator[VideoFile]:
    if not (os.path.realpath(entry.path) + os.sep).startswith(real_root):
        if entry.is_dir() or _is_video(entry.name):
            yield VideoFile(entry.path, "a link that leaves the folder is not followed; put the files themselves here")
    elif not entry.is_dir() and _is_video(entry.name):
        yield _checked(entry.path)


def _checked(path: str) -> VideoFile:
    try:
        path.encode()
    except UnicodeEncodeError:  # Arrow and Parquet require strings to be UTF-8
        return VideoFile(path, "the path is not UTF-8; rename it")
    return VideoFile(path)


def _is_video(name: str) -> bool:
    return name.rpartition(".")[2].lower() in VIDEO_EXTENSIONS
