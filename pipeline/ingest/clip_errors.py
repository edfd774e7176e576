"""What can be wrong with one clip. Each becomes that clip's row in the manifest and costs no other clip.

The class name and the message are what the manifest records; `verdict` says what may come of trying again:

    retryable   the cause lies outside the file (a cut transfer, a busy machine): another try may succeed
    permanent   the source is what it is: another try ends the same way
    operator    somebody has to change something first: a path, a time in the catalog, a limit of the config
"""

from typing import ClassVar, Literal

Verdict = Literal["retryable", "permanent", "operator"]


class ClipError(Exception):
    """Base: one line that says what is wrong with the clip, with the true message of who found it."""

    verdict: ClassVar[Verdict] = "permanent"


class FileNotFound(ClipError):  # noqa: N818 - the manifest's own word
    """The source is not there (any more)."""

    verdict = "operator"


class ZeroByte(ClipError):  # noqa: N818
    """The source is an empty file: a transfer that never began."""

    verdict = "retryable"


class Unreadable(ClipError):  # noqa: N818
    """The source is there and the system does not let it be read: permissions, a failing disk."""

    verdict = "operator"


class NotAVideo(ClipError):  # noqa: N818
    """No demuxer of video recognises the source, or it holds no video stream but a cover picture at most."""


class MoovMissing(ClipError):  # noqa: N818
    """An MP4 without its index, which is written last: a transfer or a recording that was cut short."""

    verdict = "retryable"


class Truncated(ClipError):  # noqa: N818
    """The source ends long before its header says: a transfer that was cut short."""

    verdict = "retryable"


class UnknownCodec(ClipError):  # noqa: N818
    """The installed PyAV has no decoder for the source."""

    verdict = "operator"


class DecodeError(ClipError):
    """The decoder gave up part-way: the clip is not used, since what is left of it is not what was labelled."""


class BrokenTimestamps(ClipError):  # noqa: N818
    """The times of its frames contradict each other, so that nobody can say when each is shown."""


class DecodeTimeout(ClipError):  # noqa: N818
    """Decoding took longer than is allowed for one clip, or hung; its process was killed."""

    verdict = "retryable"


class DecodeCrash(ClipError):  # noqa: N818
    """Native code crashed while decoding; its process is gone."""


class BadTimes(ClipError):  # noqa: N818
    """The catalog's times make no interval, or lie outside the source."""

    verdict = "operator"


class TooLong(ClipError):  # noqa: N818
    """More seconds than a clip may have: a whole film where a clip was meant."""

    verdict = "operator"


class TooLarge(ClipError):  # noqa: N818
    """Pictures so large, or so much memory, that the machine is in danger; refused by the header where it says so."""


class TooShort(ClipError):  # noqa: N818
    """Fewer than two frames: no motion, no flow."""


class BadRow(ClipError):  # noqa: N818
    """A line or record of the list is damaged, or names nothing that can exist."""

    verdict = "operator"


class DuplicateClip(ClipError):  # noqa: N818
    """The list has this clip already."""


class VideoGone(ClipError):  # noqa: N818
    """There is no such video any more: it was deleted, or the public lookup knows none."""


class LookupFailed(ClipError):  # noqa: N818
    """The public lookup gave no answer."""

    verdict = "retryable"


class Network(ClipError):  # noqa: N818
    """The host was not reached, or the connection broke or stalled, at every try."""

    verdict = "retryable"


class RateLimited(ClipError):  # noqa: N818
    """The host wants to be asked later, or less often."""

    verdict = "retryable"


class Forbidden(ClipError):  # noqa: N818
    """The host knows the address and refuses: credentials, a licence, a region, a kind of request."""

    verdict = "operator"


class ServerError(ClipError):
    """The host has a fault of its own, or its answer contradicts itself."""

    verdict = "retryable"


class SourceChanged(ClipError):  # noqa: N818
    """The file became another one while it was being read."""

    verdict = "retryable"


class TarMemberMissing(ClipError):  # noqa: N818
    """No archive holds a member of the clip's name."""

    verdict = "operator"


class ArchiveBroken(ClipError):  # noqa: N818
    """An archive is damaged or cut short: what lies behind that place is out of reach."""

    verdict = "retryable"


class UnsafeMember(ClipError):  # noqa: N818
    """A member of an archive that is no plain file, or whose name points out of the archive."""


class EncodeError(ClipError):
    """What was encoded does not decode to what it should."""


class VideoPrivate(ClipError):  # noqa: N818
    """Its owner shows it to nobody, or to invited accounts."""


class CopyrightClaim(ClipError):  # noqa: N818
    """Somebody else's copyright keeps it from being shown."""


class TermsViolation(ClipError):  # noqa: N818
    """YouTube removed it under its rules (spam, nudity, harassment, harm, its terms); the message says which."""


class AccountTerminated(ClipError):  # noqa: N818
    """The account that it belonged to was closed, and all its videos with it."""


class CountryBlocked(ClipError):  # noqa: N818
    """It is not shown in the country from which it was asked for."""

    verdict = "operator"


class AgeRestricted(ClipError):  # noqa: N818
    """It is shown only to an account of a known age."""

    verdict = "operator"


class SignInNeeded(ClipError):  # noqa: N818
    """It is shown only to an account, or one that pays for it."""

    verdict = "operator"


class LiveOrPremiere(ClipError):  # noqa: N818
    """It is still to come, or still running: what there will be of it is not known yet."""

    verdict = "retryable"


class FormatUnavailable(ClipError):  # noqa: N818
    """No file of it is offered that can be fetched: protected, or kept from this client; its message says why."""

    verdict = "operator"


class BotCheck(ClipError):  # noqa: N818
    """YouTube wants proof of a person behind the request; it may ask less after a pause, or of cookies."""

    verdict = "retryable"


class ExtractorOutdated(ClipError):  # noqa: N818
    """The installed yt-dlp does not understand what the site answers: most often it is too old."""

    verdict = "operator"


def error_named(name: str) -> type[ClipError]:
    """The class of a name that a manifest or another process wrote; `ClipError` itself for one that is not known."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, ClipError) else ClipError
