"""Text that an ingest prints at its end, or with `--plan` before it begins."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow.compute as pc

from pipeline.config import CatalogConfig, IngestConfig
from pipeline.escaping import MESSAGE, one_line
from pipeline.ingest.clip_errors import verdict_of
from pipeline.ingest.estimate import Estimate, Reason
from pipeline.ingest.progress_report import STAGES
from pipeline.ingest.replaced import note, replaced
from pipeline.ingest.run_errors import LostClipsError
from pipeline.masking import masked
from pipeline.shards import read_catalog
from pipeline.shards.source_notes import count_source_notes
from pipeline.table import size, table


def ingested(shards: str, manifest: dict[str, Any], shown: int = 10) -> str:
    """Return the text for a finished ingest.

    It gives the clips expected, present and failed in each split, the first failures, and what to do next.

    Args:
        shards: folder or URI of the shard set.
        manifest: its manifest.
        shown: largest number of failures to list.
    """
    rows: list[list[object]] = [["split", "expected", "present", "failed", "frames"]]
    for split, counts in manifest["splits"].items():
        failed = counts["expected"] - counts["present"]
        rows.append([split, counts["expected"], counts["present"], failed, counts["frames"]])
    lines = [
        "",
        f"{manifest['dataset']}, digest {manifest['digest']}: {shards}",
        table(rows),
        f"  video {size(manifest['bytes']['video'])}, flow {size(manifest['bytes']['flow'])}",
    ]
    if stages := manifest["rate"].get("stages"):
        lines.append(stage_table(stages))
    lines += [
        f"  {manifest['duplicates'][where]['groups']} groups of clips with the same pictures {where.replace('_', ' ')}"
        for where in ("within_splits", "across_splits")
        if manifest["duplicates"][where]["groups"]
    ]
    clips = read_catalog(shards)
    notes = count_source_notes(clips.filter(pc.field("status") == "ok")["source_notes"])
    if notes:
        lines.append("  unusual sources: " + ", ".join(f"{count} {name}" for name, count in notes.most_common()))
    failures = clips.filter(pc.field("status") == "failed").sort_by("clip_id")
    classes: Counter[str] = sum((Counter(counts["failed"]) for counts in manifest["splits"].values()), Counter())
    lines += [f"  {count} {name} ({verdict_of(name)})" for name, count in classes.most_common()]
    lines += [
        f"  failed: {one_line(row['clip_id'])}: {row['error_class']}: {one_line(row['error_message'], MESSAGE)}"
        for row in failures.slice(0, shown).to_pylist()
    ]
    if len(failures) > shown:
        lines.append(f"  ... and {len(failures) - shown} more in {shards}/_clips.parquet")
    if any(verdict_of(name) == "retryable" for name in classes):
        lines.append("  the same command with --retry retryable tries again what may succeed")
    if changed := replaced(shards):
        lines.append(f"  {note(changed)}")
    return masked("\n".join(lines))


def stage_table(stages: Mapping[str, Mapping[str, float]]) -> str:
    """Return the figures of `pipeline.ingest.progress_report.Tally.stages` as a table."""
    work: list[list[object]] = [["stage", "core-seconds", "work", "a second and core"]]
    for stage, of in stages.items():
        unit = STAGES[stage]
        work.append([stage, f"{of['seconds']:.1f}", f"{of[unit]:,.0f} {unit}", f"{of[f'{unit}_per_second']:.3g}"])
    return table(work)


@contextmanager
def summarised(shards: str) -> Iterator[None]:
    """Print the text for a finished ingest before the error that says that too many clips failed."""
    try:
        yield
    except LostClipsError as error:
        print(ingested(shards, error.manifest), flush=True)
        raise


def planned(catalog: CatalogConfig, ingest: IngestConfig, plan: Estimate, cores: int) -> str:
    """Return the text of an estimate, for `--plan`.

    Args:
        catalog: the data set.
        ingest: the settings of the ingest.
        plan: the estimate.
        cores: number of CPU cores.
    """
    rows: list[list[object]] = [["split", "clips", "unusable"]]
    rows += [[split, count, plan.bad.get(split, 0)] for split, count in plan.clips.items()]
    where = ", ".join(f"{count:,} {kind}" for kind, count in sorted(plan.sources.items())) or "none"
    flow = plan.flow_core_hours
    core_hours = plan.rgb_core_hours + (flow or 0.0)
    lines = [
        "",
        f"{catalog.name} into {ingest.shards}; nothing has been done",
        table(rows),
        *_reasons(plan.reasons),
        f"  clips by source: {where}; {plan.seconds / 3600:,.1f} hours of video",
        f"  this is an estimate, right to a factor of two: it stands on the rates of pipeline/ingest/README.md, "
        f"{_from(plan)}",
        f"  to fetch or read {size(plan.fetched_bytes)}, to store {size(plan.stored_bytes)}",
        f"  core-hours: {plan.rgb_core_hours:,.2f} decoding and encoding, "
        + ("cuda's flow not known yet" if flow is None else f"{flow:,.2f} flow")
        + f"; {core_hours / cores:,.2f} hours on {cores} cores",
    ]
    if plan.videos:
        faster = "; the public archives are faster (--catalog.archives)"
        lines.append(
            f"  YouTube: {plan.videos:,} videos, {ingest.fetch.youtube_per_hour:g} an hour and address: "
            f"{plan.youtube_hours:,.1f} hours{faster if catalog.dataset.startswith('kinetics') else ''}"
        )
    return masked("\n".join(lines))


def _from(plan: Estimate) -> str:
    """Say what the lengths and bytes of an estimate stand on."""
    some = "all" if plan.measured == plan.files else f"{plan.measured:,}"
    sizes = [f"the sizes of {some} of {plan.files:,} files"] if plan.files else []
    return " and ".join(["the times in the lists (10 s where a list has none)", *sizes])


def _reasons(reasons: Mapping[str, Reason]) -> list[str]:
    """Return a line for each of the first clips that cannot be used, by error class, and the number of the others."""
    lines = []
    for name, reason in sorted(reasons.items(), key=lambda item: (-item[1].clips, item[0])):
        lines += [f"  unusable: {name}: {message}" for message in reason.messages]
        if reason.clips > len(reason.messages):
            lines.append(f"  ... and {reason.clips - len(reason.messages):,} more {name}")
    return lines
