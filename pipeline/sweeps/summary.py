"""The summary that a sweep prints at its end: every trial, best first."""

from pipeline.config import SweepConfig
from pipeline.sweeps.search import METRIC, Swept
from pipeline.table import table


def swept(sweep: SweepConfig, result: Swept) -> str:
    """Return the summary of a sweep: a table of all trials, best first."""
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
        ]
    )
