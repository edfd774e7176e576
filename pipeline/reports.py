"""What a job says at its end: a short table of what happened, and the next command."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipeline.config import Config, SweepConfig
from pipeline.ingest.errors import error_named
from pipeline.ingest.estimate import Estimate
from pipeline.ingest.tally import STAGES
from pipeline.shards import Verification, read_catalog, read_clips
from pipeline.shards.manifest import summarise
from pipeline.shards.overlaps import by_split
from pipeline.studies.report import rows as comparisons
from pipeline.studies.study import Studied
from pipeline.sweeps.search import METRIC, Swept
from pipeline.training.pretrain import Pretrained
from pipeline.training.supervision import Transferred
from pipeline.training.tested import Tested


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows in columns, the first row a heading; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    right = [all(not isinstance(row[column], str) for row in rows[1:]) for column in range(len(widths))]
    lines = [
        "  ".join(
            cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)
        )
        for row in texts
    ]
    return "\n".join(
        "  " + line.rstrip() for line in [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
    )


def shown(figures: Iterable[Any], note: str) -> list[dict[str, Any]]:
    """Print figures as a table, with a line on what its columns are."""
    rows = [asdict(line) for line in figures]
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else cell or "" for cell in row.values()] for row in rows]
    print(f"{table([[name.replace('_', ' ') for name in rows[0]], *cells])}\n  {note}\n", flush=True)
    return rows


def ingested(config: Config, manifest: dict[str, Any], shown: int = 10) -> str:
    """Clips expected, present and failed in each split, the first failures, and what to do next."""
    rows: list[list[object]] = [["split", "expected", "present", "failed", "frames"]]
    for split, counts in manifest["splits"].items():
        failed = counts["expected"] - counts["present"]
        rows.append([split, counts["expected"], counts["present"], failed, counts["frames"]])
    lines = [
        "",
        f"{manifest['dataset']}, digest {manifest['digest']}: {config.ingest.shards}",
        table(rows),
        f"  video {_size(manifest['bytes']['video'])}, flow {_size(manifest['bytes']['flow'])}",
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
    failures = read_clips(config.ingest.shards, status="failed").to_pylist()
    for name, count in Counter(row["error_class"] for row in failures).most_common():
        lines.append(f"  {count} {name} ({error_named(name).verdict})")
    lines += [f"  failed: {row['clip_id']}: {row['error_class']}: {row['error_message']}" for row in failures[:shown]]
    if len(failures) > shown:
        lines.append(f"  ... and {len(failures) - shown} more in {config.ingest.shards}/_clips.parquet")
    if any(error_named(row["error_class"]).verdict == "retryable" for row in failures):
        lines.append("  the same command with --retry retryable tries again what may succeed")
    lines += ["", "next:", f"  python jobs/inspect_shards.py {config.ingest.shards} --card card.html"]
    return "\n".join(lines)


def inspected(shards: str, verification: Verification, shown: int = 10) -> str:
    """What the table of clips counts in each split, then the first problems, each on a line of its own."""
    manifest = summarise(read_catalog(shards), {})
    rows: list[list[object]] = [["split", "expected", "present", "failed", "frames", "classes"]]
    for split, counts in manifest["splits"].items():
        failed = counts["expected"] - counts["present"]
        rows.append([split, counts["expected"], counts["present"], failed, counts["frames"], len(counts["labels"])])
    problems = verification.problems
    lines = [
        "",
        f"{manifest['dataset']}, digest {manifest['digest']}: {shards}",
        table(rows),
        f"  {verification.clips} clips verified, {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}",
    ]
    lines += [f"  problem: {' '.join(f'{where}: {what}'.split())}" for where, what in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"  ... and {len(problems) - shown} more; --card lists them")
    return "\n".join(lines)


def shared(other: str, pairs: pa.Table, shown: int = 5) -> str:
    """How many clips of two sets come from the same video, for each pair of splits, and the first of them."""
    rows: list[list[object]] = [["split here", "split there", "clips here", "clips there"]]
    rows += [[row["split_a"], row["split_b"], row["clips_a"], row["clips_b"]] for row in by_split(pairs)]
    lines = ["", f"videos shared with {other}: {len(pairs) or 'no'} pair{'' if len(pairs) == 1 else 's'} of clips"]
    lines += [table(rows)] if len(pairs) else []
    lines += [
        f"  {row['clip_a']} ({row['split_a']}), {row['clip_b']} ({row['split_b']})"
        for row in pairs.slice(0, shown).to_pylist()
    ]
    return "\n".join(lines)


def planned(config: Config, plan: Estimate, cores: int) -> str:
    """What an ingest would come to, and the command that does it."""
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
        f"  to fetch or read {_size(plan.fetched_bytes)}, to store {_size(plan.stored_bytes)}",
        f"  core-hours: {plan.rgb_core_hours:,.2f} decoding and encoding, "
        + ("cuda's flow not known yet" if flow is None else f"{flow:,.2f} flow")
        + f"; {core_hours / cores:,.2f} hours on {cores} cores",
    ]
    if plan.videos:
        lines.append(
            f"  YouTube: {plan.videos:,} videos, {config.ingest.fetch.youtube_per_hour:g} an hour and address: "
            f"{plan.youtube_hours:,.1f} hours; the public archives are faster (--catalog.archives)"
        )
    return "\n".join([*lines, "", "next:", "  the same command without --plan"])


def _size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def pretrained(config: Config, result: Pretrained) -> str:
    """Accuracy of each stream and of both, with the clips it stands on, and the next commands."""
    first = next(iter(result.accuracy.values()))
    rows: list[list[object]] = [["network", "top-1 %", "top-5 %", "clips"]]
    for name, worth in result.accuracy.items():
        rows.append([name.replace("_", "-"), f"{100 * worth.top1:.1f}", f"{100 * worth.top5:.1f}", worth.clips])
    lines = [
        "",
        f"{config.model.name} on {config.evaluation.split}, data digest {first.digest}, {first.missing} clips missing",
        table(rows),
        f"  run {result.name}: {result.folder}",
    ]
    if result.version is not None:
        model = f"models:/{config.tracking.registered_model}@{config.tracking.alias}"
        lines += [
            f"  registered {config.tracking.registered_model} version {result.version} as {config.tracking.alias}",
            "",
            "next:",
            f"  mlflow ui --backend-store-uri {config.tracking.uri}",
            f"  python jobs/predict.py VIDEO --model {model} --tracking {config.tracking.uri}",
        ]
    return "\n".join(lines)


def transferred(config: Config, result: Transferred) -> str:
    """How well pairs are told apart, and the next command."""
    best = result.trained.best
    return "\n".join(
        [
            "",
            f"{config.model.name} by supervision transfer: {100 * best['val/top1']:.1f} % of {best['val/clips']:.0f} "
            f"pairs told apart (chance: 50), loss {best['val/loss']:.3f}",
            f"  run {result.name}: {result.student}",
            "",
            "next:",
            f"  python jobs/finetune.py --recipe t3d121_ucf101 --model.name {config.model.name} "
            f"--model.weights.rgb {result.student} ...",
        ]
    )


def evaluated(result: Tested, shown: int = 5) -> str:
    """What each stream and the fusion are worth, on which clips and data, the hardest pairs, and the next commands."""
    first = next(iter(result.analyses.values()))
    rows: list[list[object]] = [["network", "top-1 %", "top-5 %", "mean %", "class mean %", "ECE %", "clips"]]
    for name, one in result.analyses.items():
        worth = one.accuracy
        shares = [worth.top1, worth.top5, worth.mean, one.class_mean, one.calibration.error]
        rows.append([name.replace("_", "-"), *(f"{100 * share:.1f}" for share in shares), worth.clips])
    best = list(result.analyses.values())[-1]
    return "\n".join(
        [
            "",
            f"{result.title} on {result.scores.split}, data digest {first.accuracy.digest}, "
            f"{first.accuracy.missing} clips missing",
            result.scores.protocol,
            table(rows),
            *(f"  {pair.clips} of {pair.of} {pair.label}: said to be {pair.predicted}" for pair in best.pairs[:shown]),
            f"  scores {result.path}",
            "",
            "next:",
            f"  mlflow ui --backend-store-uri {result.run.uri}      # run {result.name}",
            f"  python jobs/evaluate.py --fuse {result.path} OTHER/scores.parquet",
        ]
    )


def swept(sweep: SweepConfig, result: Swept) -> str:
    """Every trial, best first, and how to train the winner."""
    rows: list[list[object]] = [["frames", "stride", "crop", "epochs", "top-1 %", "clips/s", "seconds", ""]]
    for row in result.rows:
        rate, top1 = row["perf/clips_per_second"], 100 * row[METRIC]
        cells = [row["frames"], row["stride"], row["crop"], row["epochs"], f"{top1:.1f}", f"{rate:.1f}", row["seconds"]]
        rows.append([*cells, row["status"]])
    best = result.rows[0]
    return "\n".join(
        [
            "",
            f"{sweep.base.model.name}, {sweep.stream}, validated on {best['val/clips']:.0f} clips, "
            f"data digest {result.digest}",
            table(rows),
            f"  {result.folder}/results.csv; in MLflow the run {result.name} with its picture",
            "",
            "next:",
            f"  python jobs/pretrain_kinetics.py --ingest.shards {sweep.base.ingest.shards} ... "
            f"--clips.frames {best['frames']} --clips.stride {best['stride']} --clips.crop {best['crop']}",
        ]
    )


def studied(result: Studied) -> str:
    """One line a comparison, what failed, where the report is, and how to look at the runs."""
    lines = ["", table(comparisons(result.claims)), f"  {result.report}"]
    lines += [f"  failed: {trial}: {reason}" for trial, reason in result.failed.items()]
    return "\n".join([*lines, "", "next:", f"  mlflow ui --backend-store-uri {result.run.uri}"])
