"""Checks for leaks: the same video, or the same pictures, in two splits of a shard set, which make accuracies wrong."""

from collections import defaultdict
from typing import Any

import pyarrow as pa

from pipeline.ingest.run_errors import IngestError
from pipeline.shards.overlaps import video_of

_SHOWN = 3


def check_videos(catalog: pa.Table, allowed: bool) -> None:
    """Check, before anything is fetched, that no video has clips in two splits.

    Raises:
        IngestError: there are such videos, and they are not allowed; the message names some of them.
    """
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in catalog.select(["clip_id", "split", "error_class"]).to_pylist():
        if row["error_class"] is None:
            splits[video_of(row["clip_id"])].add(row["split"])
    leaks = {video: sorted(names) for video, names in splits.items() if len(names) > 1}
    if leaks and not allowed:
        shown = ", ".join(f"{video} ({', '.join(names)})" for video, names in list(leaks.items())[:_SHOWN])
        raise IngestError(
            f"catalog: {len(leaks)} videos have clips in more than one split: {shown}"
            f"{', ...' if len(leaks) > _SHOWN else ''}; mend the lists, or --ingest.allow_leaks true"
        )


def check_contents(shards: str, manifest: dict[str, Any], allowed: bool) -> None:
    """Check that a finished set does not have the same coded packets in two splits, even under different names.

    Raises:
        IngestError: there are such clips, and they are not allowed; the message names some of them. The set itself is
            complete and readable.
    """
    leaks = manifest["duplicates"]["across_splits"]
    if leaks["groups"] and not allowed:
        shown = "; ".join(" = ".join(group) for group in leaks["examples"][:_SHOWN])
        raise IngestError(
            f"{shards}: {leaks['groups']} groups of clips have the same video packets in more than one split: {shown}; "
            "mend the lists, or --ingest.allow_leaks true"
        )
