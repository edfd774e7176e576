"""Text that an ingest prints at its end, or with `--plan` before it begins."""

from collections import Counter
from typing import Any

from pipeline.config import Config
from pipeline.ingest.clip_errors import error_named
from pipeline.ingest.estimate import Estimate
from pipeline.ingest.progress_report import STAGES
from pipeline.shards import read_clips
from pipeline.shards.source_notes import count_source_notes
from pipeline.table import size, table


def ingested(config: Config, manifest: dict[str, Any], shown: int = 10) -> str:
    """Return the text for a finished ingest.

    It gives the clips expected, present and failed in each split, the first failures, and what to do next.
    """
    rows: list[list[object]] = [["split", "expected", "present", "failed", "frames"]]
    for split, counts in manifest["splits"].items():
        failed = counts["expected"] - counts["present"]
        rows.append([split, counts["expected"], counts["present"], failed, counts["frames"]])
    lines = [
        "",
        f"{manifest['dataset']}, digest {manifest['digest']}: {config.ingest.shards}",
        table(rows),
        f"  video {size(manifest['bytes']['video'])}, flow {size(manifest['bytes']['flow'])}",
    ]
    if stages := manifest["rate"].get("stages"):
        work: list[list[object]] = [["stage", "core-seconds", "work", "a second and core"]]
        for stage, of in stages.items():
            unit = STAGES[stage]
            work.append([stage, f"{of['seconds']:.1f}", f"{of[unit]:,.0f} {unit}", f"{of[f'{unit}_per_second']:.3g}"])
        lines.append(table(work))
    lines += [
        f"  {manifest['duplicates'][where]['groups']} groups of clips with the same pictures {where.replace('_', ' ')}"
        for where in ("within_splits", "across_splits")
        if manifest["duplicates"][where]["groups"]
    ]
    notes = count_source_notes(read_clips(config.ingest.shards)["source_notes"].to_pylist())
    if notes:
        lines.append("  unusual sources: " + ", ".join(f"{count} {note}" for note, count in notes.most_common()))
    failures = read_clips(config.ingest.shards, status="failed").to_pylist()
    for name, count in Counter(row["error_class"] for row in failures).most_common():
        lines.append(f"  {count} {name} ({error_named(name).verdict})")
    lines += [f"  failed: {row['clip_id']}: {row['error_class']}: {row['error_message']}" for row in failures[:shown]]
    if len(failures) > shown:
        lines.append(f"  ... and {len(failures) - shown} more in {config.ingest.shards}/_clips.parquet")
    if any(error_named(row["error_class"]).verdict == "retryable" for row in failures):
        lines.append("  the same command with --retry retryable tries again what may succeed")
    return "\n".join(lines)


def planned(config: Config, plan: Estimate, cores: int) -> str:
    """Return the text of an estimate, for `--plan`."""
    rows: list[list[object]] = [["split", "clips", "unusable"]]
    rows += [[split, count, plan.bad.get(split, 0)] for split, count in plan.clips.items()]
    where = ", ".join(f"{count:,} {kind}" for kind, count in sorted(plan.sources.items())) or "none"
    flow = plan.flow_core_hours
    core_hours = plan.rgb_core_hours + (flow or 0.0)
    lines = [
        "",
        f"{config.catalog.name} into {config.ingest.shards}; nothing has been done",
        table(rows),
        f"  clips by source: {where}; {plan.seconds / 3600:,.1f} hours of video",
        f"  to fetch or read {size(plan.fetched_bytes)}, to store {size(plan.stored_bytes)}",
        f"  core-hours: {plan.rgb_core_hours:,.2f} decoding and encoding, "
        + ("cuda's flow not known yet" if flow is None else f"{flow:,.2f} flow")
        + f"; {core_hours / cores:,.2f} hours on {cores} cores",
    ]
    if plan.videos:
        faster = "; the public archives are faster (--catalog.archives)"
        lines.append(
            f"  YouTube: {plan.videos:,} videos, {config.ingest.fetch.youtube_per_hour:g} an hour and address: "
            f"{plan.youtube_hours:,.1f} hours{faster if config.catalog.dataset.startswith('kinetics') else ''}"
        )
    return "\n".join(lines)
