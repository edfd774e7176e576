"""Memory that a clip takes in its worker, estimated before it is taken.

Pictures come in slices and encoded streams go to files, so memory grows with the size of a picture only.
"""

from pipeline.ingest.clip_errors import TooLarge
from pipeline.shards.row_groups import MOST_BYTES

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


def check_stored(video: int, flow: int, frames: int) -> None:
    """Check that neither stream, in bytes, is already larger than a cell of a shard may be.

    Raises:
        TooLarge: one is.
    """
    if max(video, flow) > MOST_BYTES:
        raise TooLarge(
            f"its first {frames} frames make {video / 2**30:.2f} GiB of video and {flow / 2**30:.2f} GiB of flow; "
            f"{MOST_BYTES / 2**30:.2f} GiB of each are the most that a shard holds for a clip: cut it"
        )
