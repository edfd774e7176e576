"""What a job says at its end: a short table of what happened, and the next command."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.config import Config, SweepConfig
from pipeline.shards import Verification, read_catalog, read_clips
from pipeline.shards.manifest import summarise
from pipeline.shards.overlaps import by_split
from pipeline.sweeps.search import METRIC, Swept
from pipeline.training.pretrain import Pretrained
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


def ingested(config: Config, manifest: dict[str, Any], shown: int = 10) -> str:
    """Clips expected, present and failed in each split, the first failures, and what to do next."""
    rows: list[list[object]] = [["split", "expected", "present", "failed", "frames"]]
    for split, counts in manifest["splits"].items():
        failed = counts["expected"] - counts["present"]
        rows.append([split, counts["expected"], counts["present"], failed, counts["frames"]])
    megabytes = {stream: count / 1e6 for stream, count in manifest["bytes"].items()}
    lines = [
        "",
        f"{manifest['dataset']}, digest {manifest['digest']}: {config.ingest.shards}",
        table(rows),
        f"  video {megabytes['video']:.1f} MB, flow {megabytes['flow']:.1f} MB",
    ]
    failures = read_clips(config.ingest.shards, status="failed").to_pylist()
    lines += [f"  failed: {row['clip_id']}: {row['error_class']}: {row['error_message']}" for row in failures[:shown]]
    if len(failures) > shown:
        lines.append(f"  ... and {len(failures) - shown} more in {config.ingest.shards}/_clips.parquet")
    lines += ["", "next:", f"  python jobs/inspect_shards.py {config.ingest.shards} --card card.html"]
    return "\n".join(lines)


def inspected(shards: str, verification: Verification, shown: int = 10) -> str:
    """What the table of clips counts in each split, then the first problems, each on a line of its own."""
    manifest = summarise(read_catalog(shards), {}, 0)
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
