"""Memory that a clip takes in its worker, estimated before it is taken.

Pictures come in slices, so memory grows with the size of a picture, and with the bytes to be stored; both are bounded.
"""

from pipeline.ingest.clip_errors import TooLarge

RGB_BYTES, FLOW_BYTES = 60, 220
"""Bytes of working memory for each pixel of a picture: for encoding the video, and for computing and encoding flow."""


def check_working(height: int, width: int, flow: bool, limit_gib: float) -> None:
    """Check that the work on slices of pictures of this size fits into the memory that a clip may take.

    Raises:
        TooLarge: it does not.
    """
    needed = height * width * (RGB_BYTES + flow * FLOW_BYTES)
    if needed > limit_gib * 2**30:
        raise TooLarge(
            f"pictures of {width}x{height}{' and their flow' if flow else ''} take about {needed / 2**30:.2f} GiB to "
            f"work on; ingest.memory_gib allows {limit_gib:g}"
        )


def check_stored(video: int, flow: int, frames: int, limit_gib: float) -> None:
    """Check that what is to be stored so far, in bytes, can be written within the memory that a clip may take.

    Parquet's writer copies a stream twice, so that both streams and two copies of the larger one are there at once.

    Raises:
        TooLarge: it cannot.
    """
    needed = video + flow + 2 * max(video, flow)
    if needed > limit_gib * 2**30:
        raise TooLarge(
            f"its first {frames} frames make {(video + flow) / 2**20:.0f} MiB, which take {needed / 2**30:.2f} GiB "
            f"to write; ingest.memory_gib allows {limit_gib:g}: cut the clip, or raise it"
        )
