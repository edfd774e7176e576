"""What can be wrong with one clip. Each becomes that clip's row in the manifest and costs no other clip."""


class ClipError(Exception):
    """Base: the class name and the message are what the manifest records."""


class FileNotFound(ClipError):  # noqa: N818 - the manifest's own word
    """The source is not there (any more)."""


class ZeroByte(ClipError):  # noqa: N818
    """The source is an empty file."""


class NotAVideo(ClipError):  # noqa: N818
    """No demuxer recognises the source, or it holds no video stream."""


class DecodeError(ClipError):
    """The decoder gave up part-way: the clip is not used, since what is left of it is not what was labelled."""


class DecodeTimeout(ClipError):  # noqa: N818
    """Decoding took longer than is allowed for one clip."""


class BadTimes(ClipError):  # noqa: N818
    """The catalog's times make no interval, or lie outside the source."""


class TooLong(ClipError):  # noqa: N818
    """More seconds than a clip may have: a whole film where a clip was meant."""


class TooShort(ClipError):  # noqa: N818
    """Fewer than two frames: no motion, no flow."""
