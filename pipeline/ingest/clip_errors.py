"""Errors of a single clip. Each is recorded in that clip's row of the manifest and does not affect other clips.

The manifest records the class name and the message; `verdict` says whether another try may help:

    retryable   the cause lies outside the file (a cut transfer, a busy machine): another try may succeed
    permanent   the cause lies in the source: another try fails in the same way
    operator    somebody has to change something first: a path, a time in the catalog, a limit of the config
"""

from typing import ClassVar, Literal

Verdict = Literal["retryable", "permanent", "operator"]


class ClipError(Exception):
    """Base class; its message is one line that says what is wrong with the clip and quotes the original error."""

    verdict: ClassVar[Verdict] = "permanent"


class FileNotFound(ClipError):  # noqa: N818 - the manifest's own word
    """The source does not exist, or no longer exists."""

    verdict = "operator"


class ZeroByte(ClipError):  # noqa: N818
    """The source is an empty file: a transfer that never began."""

    verdict = "retryable"


class Unreadable(ClipError):  # noqa: N818
    """The source exists but the system cannot read it: permissions, a failing disk."""

    verdict = "operator"


class NotAVideo(ClipError):  # noqa: N818
    """No video demuxer recognises the source, or it has no video stream other than a cover picture."""


class MoovMissing(ClipError):  # noqa: N818
    """The source is an MP4 without its index, which is written last: a transfer or recording was cut short."""

    verdict = "retryable"


class Truncated(ClipError):  # noqa: N818
    """The source is shorter than its header or its host says: a transfer was cut short."""

    verdict = "retryable"


class UnknownCodec(ClipError):  # noqa: N818
    """The installed PyAV has no decoder for the source."""

    verdict = "operator"


class DecodeError(ClipError):
    """The decoder failed, or the picture changed its shape part-way.

    The clip is not used, because the part that was decoded is not what was labelled.
    """


class BrokenTimestamps(ClipError):  # noqa: N818
    """The times of the frames contradict each other, so that it is unknown when each frame is shown."""


class DecodeTimeout(ClipError):  # noqa: N818
    """Decoding took longer than is allowed for one clip, or hung; its process was killed."""

    verdict = "retryable"


class DecodeCrash(ClipError):  # noqa: N818
    """Native code crashed while decoding, and its process ended."""


class WorkerKilled(ClipError):  # noqa: N818
    """The processes that worked on the clip were killed from outside, each time, most often for lack of memory.

    The clip may need too much, or its neighbours on the machine did.
    """

    verdict = "retryable"


class ChildError(ClipError):
    """No decoding process starts; the machine lacks something, and no clip is the cause."""

    verdict = "retryable"


class BadTimes(ClipError):  # noqa: N818
    """The catalog's times are not an interval, or the clip begins after the end of the source."""

    verdict = "operator"


class TooLong(ClipError):  # noqa: N818
    """The clip is longer than allowed, such as a whole film instead of a clip."""

    verdict = "operator"


class TooLarge(ClipError):  # noqa: N818
    """The file, its pictures or the memory for decoding are larger than allowed.

    Pictures are refused before decoding if the header states their size.
    """


class TooShort(ClipError):  # noqa: N818
    """The clip has fewer than two frames, so it has no motion and no flow."""


class BadRow(ClipError):  # noqa: N818
    """A line or record of the list is damaged, or names something that cannot exist."""

    verdict = "operator"


class DuplicateClip(ClipError):  # noqa: N818
    """The list has this clip already."""


class VideoGone(ClipError):  # noqa: N818
    """The video no longer exists: it was deleted, or the public lookup does not know it."""


class LookupFailed(ClipError):  # noqa: N818
    """The public lookup gave no answer."""

    verdict = "retryable"


class Network(ClipError):  # noqa: N818
    """The host was not reached, or the connection broke or stalled, at every try."""

    verdict = "retryable"


class RateLimited(ClipError):  # noqa: N818
    """The host asks for fewer requests, or for later ones."""

    verdict = "retryable"


class Forbidden(ClipError):  # noqa: N818
    """The host refuses the request: it wants credentials, a licence, another region or another kind of request."""

    verdict = "operator"


class ServerError(ClipError):
    """The host has an internal error, or its answer contradicts itself."""

    verdict = "retryable"


class SourceChanged(ClipError):  # noqa: N818
    """The file was replaced by another one while it was being read."""

    verdict = "retryable"


class TarMemberMissing(ClipError):  # noqa: N818
    """No archive holds a member with the clip's name."""

    verdict = "operator"


class ArchiveBroken(ClipError):  # noqa: N818
    """An archive is damaged or cut short: everything after that place cannot be read."""

    verdict = "retryable"


class UnsafeMember(ClipError):  # noqa: N818
    """The member of an archive is not a plain file, or its name points out of the archive."""


class EncodeError(ClipError):
    """The encoded clip does not decode to its frames or flow with the required accuracy."""


class VideoPrivate(ClipError):  # noqa: N818
    """The owner shows the video to nobody, or only to invited accounts."""


class CopyrightClaim(ClipError):  # noqa: N818
    """The video is not shown because of somebody else's copyright."""


class TermsViolation(ClipError):  # noqa: N818
    """YouTube removed the video under its rules (spam, nudity, harassment, harm, terms); the message says which."""


class AccountTerminated(ClipError):  # noqa: N818
    """The account of the video was closed, and all its videos were removed."""


class CountryBlocked(ClipError):  # noqa: N818
    """The video is not shown in the country from which it was requested."""

    verdict = "operator"


class AgeRestricted(ClipError):  # noqa: N818
    """The video is shown only to accounts with a confirmed age."""

    verdict = "operator"


class SignInNeeded(ClipError):  # noqa: N818
    """The video is shown only to accounts that are signed in, or that pay for it."""

    verdict = "operator"


class LiveOrPremiere(ClipError):  # noqa: N818
    """The video is a live stream or premiere that is not over, so its final content is not known yet."""

    verdict = "retryable"


class FormatUnavailable(ClipError):  # noqa: N818
    """YouTube offers no file of the video that can be fetched: it is protected or withheld; the message says why."""

    verdict = "operator"


class BotCheck(ClipError):  # noqa: N818
    """YouTube wants proof that a person makes the request; this may stop after a pause, or if cookies are given."""

    verdict = "retryable"


class ExtractorOutdated(ClipError):  # noqa: N818
    """The installed yt-dlp does not understand the site's answer, most often because it is too old."""

    verdict = "operator"


def error_named(name: str) -> type[ClipError]:
    """Return the class with a name that a manifest or another process wrote; `ClipError` if the name is unknown."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, ClipError) else ClipError
