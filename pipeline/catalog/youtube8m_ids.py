"""Translation of the four-character ids of YouTube-8M to YouTube ids, with a file that keeps the answers.

The data set publishes pseudo ids so that a video that its owner has deleted can no longer be traced. The answers of the
lookup (`pipeline.catalog.youtube8m_lookup`) are appended to a text file of two columns as they arrive, so that an
interrupted run continues where it stopped: `nXSc<TAB>0sf943sWZls`, or `-` for a deleted video. A line that was cut off
is ignored. Failures are not kept, so the next run asks again.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.catalog.rows import CatalogError, shown
from pipeline.catalog.youtube8m_lookup import PSEUDO_ID, Client, Lookup, NoAnswerError, VideoGoneError
from pipeline.progress import Progress

GIVE_UP_AFTER = 8  # ids in a row without an answer after which to stop: the service is down or refuses us

_GONE = "-"
_KEPT = re.compile(r"([A-Za-z0-9_-]{4})\t([A-Za-z0-9_-]{11}|-)", re.ASCII)
_TELL_EVERY_S = 10.0


class Answer(NamedTuple):
    """A YouTube id, or the class and message of the error."""

    youtube_id: str | None
    error_class: str | None = None
    message: str | None = None


def resolve_ids(ids: Iterable[str], cache: str | os.PathLike[str], lookup: Lookup | None = None) -> dict[str, Answer]:
    """Find the YouTube ids of pseudo ids, in the file or with the lookup.

    Args:
        ids: Pseudo ids. An id that is not four letters, digits, `-` or `_` is never sent anywhere.
        cache: Text file that keeps the answers; it is created if needed.
        lookup: Settings of the lookup.

    Returns:
        Answers by pseudo id. Errors are `VideoGone` (the lookup has no such id), `LookupFailed` (no answer after all
        tries, or no request because `GIVE_UP_AFTER` ids in a row had no answer) and `BadRow` (not a pseudo id).

    Raises:
        CatalogError: the file cannot be read or written.
    """
    wanted = list(dict.fromkeys(ids))
    try:
        kept = known_ids(wanted, cache)
        missing = [name for name in wanted if name not in kept]
        if missing:
            Path(cache).parent.mkdir(parents=True, exist_ok=True)
            with Path(cache).open("a", encoding="ascii", buffering=1) as file:  # written line by line
                if file.tell():
                    file.write("\n")  # the last line may have been cut off
                progress = Progress("YouTube-8M ids", len(missing), every_s=_TELL_EVERY_S, last_line=False)
                for name, answer, keep in _ask(missing, Client(lookup or Lookup())):
                    progress.advance()
                    kept[name] = answer
                    if keep:
                        file.write(f"{name}\t{answer.youtube_id or _GONE}\n")
    except OSError as error:
        raise CatalogError(f"{cache}: cannot be used ({error.strerror}); give a file for the ids found") from error
    return {name: kept[name] for name in wanted}


def known_ids(ids: Iterable[str], cache: str | os.PathLike[str]) -> dict[str, Answer]:
    """Return the answers that the file has for some ids; nobody is asked.

    Raises:
        CatalogError: the file cannot be read.
    """
    wanted, known = set(ids), {}
    gone = "the lookup had no such id: the video was deleted or made private"
    try:
        with Path(cache).open(encoding="ascii", errors="replace", newline="\n") as file:
            for match in (_KEPT.fullmatch(line.removesuffix("\n")) for line in file):
                if match is None or match[1] not in wanted:
                    continue
                text = f"{match[1]}: {gone}; remove its line from {cache} to ask again"
                known[match[1]] = Answer(None, "VideoGone", text) if match[2] == _GONE else Answer(match[2])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CatalogError(f"{cache}: cannot be used ({error.strerror}); give a file for the ids found") from error
    return known


def _ask(names: list[str], client: Client) -> Iterator[tuple[str, Answer, bool]]:
    """Yield each id with its answer, and whether to keep the answer."""
    in_vain = 0
    for name in names:
        if not PSEUDO_ID.fullmatch(name):
            text = f"{shown(name)} is no id of YouTube-8M; expected four letters, digits, '-' or '_'"
            yield name, Answer(None, "BadRow", text), False
            continue
        if in_vain >= GIVE_UP_AFTER:
            text = f"{name}: not asked for, after {in_vain} ids in a row without an answer; run again later"
            yield name, Answer(None, "LookupFailed", text), False
            continue
        try:
            answer, keep, in_vain = Answer(client.ask(name)), True, 0
        except VideoGoneError as error:
            answer, keep, in_vain = Answer(None, "VideoGone", f"{client.address(name)}: {error}"), error.certain, 0
        except NoAnswerError as error:
            text = f"{client.address(name)}: {error}; run again to ask again"
            answer, keep, in_vain = Answer(None, "LookupFailed", text), False, in_vain + 1
        yield name, answer, keep
