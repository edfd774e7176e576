"""Windows that are longer than the clips: these are looped, so more frames or a larger stride show nothing more."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import ClipsConfig
from pipeline.shards.splits import counts_of


def looped(clips: ClipsConfig, split: str, manifest: Mapping[str, Any]) -> str:
    """Return a sentence on windows that are longer than the mean clip of a split; empty if they are not.

    Args:
        clips: the windows.
        split: the split on which they are trained.
        manifest: the manifest of the shard set.
    """
    counts, span = counts_of(manifest, split), (clips.frames - 1) * clips.stride + 1
    mean = counts["frames"] / max(counts["present"], 1)
    if span <= mean:
        return ""
    return f"windows of {span} frames are longer than the clips, which have {mean:.0f} in the mean, and are looped"
