"""Conversion of yt-dlp's exceptions to clip errors.

yt-dlp has exception types for only a few reasons; these are checked first, however deeply they are wrapped. All other
reasons are text from YouTube, which yt-dlp requests in English; `CUES` finds the class by words in it. The classes are
those of ActivityNet's report on Kinetics (Crawler/Kinetics/process_download_report.py: user-removed, copyright,
country-block, spam, nudity, sign-in, private, guidelines, harassment, service-terms, harmful) and of yt-dlp's
`extractor/youtube/_video.py`.
"""

import re
from collections.abc import Iterator, Sequence

from yt_dlp.cookies import CookieLoadError
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, TransportError
from yt_dlp.utils import (
    ContentTooShortError,
    DownloadError,
    ExtractorError,
    GeoRestrictedError,
    RegexNotFoundError,
    UserNotLive,
)
from yt_dlp.version import __version__

from pipeline.ingest import clip_errors as errors
from pipeline.ingest.clip_errors import ClipError

CUES: tuple[tuple[type[ClipError], str], ...] = (
    # The first match counts. Specific phrases stand before general ones, and reasons that a person gave (such as a
    # copyright claim) before general answers of YouTube (such as "unavailable").
    (errors.RateLimited, r"rate-limited by youtube|content isn't available, try again later|too many requests"),
    (errors.BotCheck, r"not a bot|captcha|ip is likely being blocked"),
    (errors.ExtractorOutdated, r"on this (app|device)|application or device|page needs to be reloaded"),
    (errors.VideoPrivate, r"private video|video is private"),
    (errors.AgeRestricted, r"confirm your age|age-restricted|age restricted|age-verification|inappropriate for some"),
    (errors.AccountTerminated, r"account\b.*\b(terminated|suspended)|closed their (youtube )?account"),
    (errors.CountryBlocked, r"in your (country|region)|(from )?your location|geo.?restrict"),
    (errors.CopyrightClaim, r"copyright"),
    (errors.TermsViolation, r"violat\w+|policy on|community guidelines|terms of service|spam|nudity|harass|harmful"),
    (errors.LiveOrPremiere, r"live event|premieres? (in|will)|live ?stream|processing this video"),
    (
        errors.SignInNeeded,
        r"members[- ]only|join this channel|music premium|payment|\brent\b|purchase|sign in|log ?in\b",
    ),
    (errors.FormatUnavailable, r"format is not available|no video formats|drm protected|unsupported url"),
    (errors.VideoGone, r"removed|deleted|unavailable|not available|no longer available|does not exist|isn't available"),
    (errors.Truncated, r"\d+ more expected|downloaded \d+ bytes, expected \d+|content too short"),
    (errors.ZeroByte, r"did not get any data blocks"),
    (errors.ServerError, r"http error 5\d\d|an error occurred|something went wrong"),
    (errors.Network, r"got error:|unable to download|timed out|connection|name resolution"),
)

_ADVICE = {
    errors.BotCheck: "give ingest.fetch.youtube_cookies, or other ingest.fetch.youtube_proxies",
    errors.AgeRestricted: "give ingest.fetch.youtube_cookies of an account of a known age",
    errors.SignInNeeded: "give ingest.fetch.youtube_cookies of an account that may see it",
    errors.CountryBlocked: "give ingest.fetch.youtube_proxies in another country",
    errors.ExtractorOutdated: f"update yt-dlp, which is {__version__} here",
    errors.FormatUnavailable: f"update yt-dlp, which is {__version__} here, and see that deno is installed for it",
}
_STATUS: dict[int, type[ClipError]] = {
    401: errors.Forbidden, 403: errors.Forbidden, 404: errors.VideoGone, 410: errors.VideoGone,
    429: errors.RateLimited, 451: errors.CountryBlocked,
}  # fmt: skip
_BEFORE = re.compile(r"(\s*ERROR:\s*)?(\[[\w:+]+\] (?:[\w-]+: )?)?")  # removed, because a video id may contain any word
_BUG_REPORT = re.compile(r"[;.]? *please report this issue on .*", re.IGNORECASE | re.DOTALL)
_MOST_LETTERS = 1000


def clip_error(error: BaseException, warnings: Sequence[str] = ()) -> ClipError:
    """Return the clip error that an exception of yt-dlp means, with its original message.

    Args:
        error: an exception as raised by `YoutubeDL`, wrapped or not.
        warnings: earlier warnings of yt-dlp; the last is added to the message if the error alone says little.
    """
    chain = list(_chain(error))
    own = next((inner for inner in chain if isinstance(inner, ClipError)), None)
    if own is not None:
        return own
    message = _message(chain)
    kind = _by_type(chain, of_youtube=message.startswith("[youtube")) or _by_words(message)
    if kind is None:
        expected = any(isinstance(inner, ExtractorError) and inner.expected for inner in chain)
        kind = errors.FormatUnavailable if expected else errors.ExtractorOutdated
    if kind in (errors.FormatUnavailable, errors.ExtractorOutdated):
        if any("HTTP Error 429" in warning for warning in warnings):
            kind = errors.RateLimited  # yt-dlp found no format because its requests were refused
        if warnings:
            message += f" (before it: {_one_line(warnings[-1])})"
    return kind(f"yt-dlp: {message}" + (f"; {_ADVICE[kind]}" if kind in _ADVICE else ""))


def _by_type(chain: list[BaseException], of_youtube: bool) -> type[ClipError] | None:
    def first(*kinds: type[BaseException]) -> BaseException | None:
        return next((inner for inner in chain if isinstance(inner, kinds)), None)

    if first(GeoRestrictedError):
        return errors.CountryBlocked
    if first(UserNotLive):
        return errors.LiveOrPremiere
    if first(CookieLoadError):
        return errors.Unreadable
    if first(ContentTooShortError, IncompleteRead):
        return errors.Truncated
    answer = first(HTTPError)
    if isinstance(answer, HTTPError):
        if of_youtube and answer.status in (404, 410):  # a deleted video has a page that says so, not a 404
            return errors.ExtractorOutdated
        return _STATUS.get(answer.status, errors.ServerError if answer.status >= 500 else errors.Forbidden)
    if first(TransportError, TimeoutError, ConnectionError):
        return errors.Network
    if first(RegexNotFoundError):
        return errors.ExtractorOutdated
    own_disk = first(OSError) and not first(ExtractorError)
    return errors.Unreadable if own_disk else None


def _by_words(message: str) -> type[ClipError] | None:
    plain = _BEFORE.sub("", message, count=1).replace("\u2019", "'").lower()
    return next((kind for kind, words in CUES if re.search(words, plain)), None)


def _message(chain: list[BaseException]) -> str:
    """Return the message of the outermost `ExtractorError` or `DownloadError`, or of the exception itself if none."""
    told = next((inner for inner in chain if isinstance(inner, (ExtractorError, DownloadError))), chain[0])
    return _one_line(str(told)) or type(told).__name__


def _one_line(text: str) -> str:
    text = _BUG_REPORT.sub("", re.sub(r"^\s*ERROR:\s*", "", text))
    return " ".join(text.split())[:_MOST_LETTERS]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all its causes, nearest first."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        inner = waiting.pop(0)
        if not isinstance(inner, BaseException) or id(inner) in seen:
            continue
        seen.add(id(inner))
        yield inner
        raised = getattr(inner, "exc_info", None) or (None, None, None)
        waiting += [raised[1], getattr(inner, "cause", None), inner.__cause__, inner.__context__]
