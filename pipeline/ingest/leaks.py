"""Checks for leaks: the same video, or the same pictures, in two splits of a shard set, which make accuracies wrong."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.run_errors import IngestError
from pipeline.shards.overlaps import videos_of
from pipeline.shards.splits import divided

_SHOWN = 3


def check_videos(catalog: pa.Table, allowed: bool) -> None:
    """Check, before anything is fetched, that no video has clips in two splits.

    Raises:
        IngestError: there are such videos, and they are not allowed; the message names some of them.
    """
    good = catalog.filter(pc.field("error_class").is_null())
    table = pa.table({"video": videos_of(good["clip_id"]), "split": good["split"]})
    videos = table.group_by("video", use_threads=False).aggregate([("split", "distinct")])  # in the catalog's order
    leaks = videos.filter(pa.array(map(divided, videos["split_distinct"].to_pylist()), pa.bool_()))
    if len(leaks) and not allowed:
        first = leaks.slice(0, _SHOWN).to_pylist()
        shown = ", ".join(f"{row['video']} ({', '.join(sorted(row['split_distinct']))})" for row in first)
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
