"""Progress of a running ingest: clips, failures by class and rates of the stages, as text and as Ray metrics."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from ray.util import metrics

from pipeline.progress import Progress

STAGES = {"fetch": "MB", "decode": "frames", "flow": "pairs", "encode": "frames"}
"""Every stage, and the unit in which its work is counted."""


class Tally:
    """A counter of the status rows of clips, which prints the progress and updates the metrics of Ray's dashboard."""

    def __init__(self, total: int, before: int, write: Callable[[str], object] | None) -> None:
        """Start to count.

        Args:
            total: number of clips.
            before: number of clips that an earlier run has done.
            write: function that takes the lines of progress; if None, they go to the console.
        """
        self.failed: Counter[str] = Counter()
        self.clips = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._work: defaultdict[str, float] = defaultdict(float)
        self._progress = Progress("ingest", total, before=before, write=write)
        self._counters = {
            "clips": metrics.Counter("ingest_clips", "Clips ingested.", tag_keys=("status", "error_class")),
            "seconds": metrics.Counter("ingest_seconds", "Seconds of work in a stage, over all workers.", ("stage",)),
            "work": metrics.Counter(
                "ingest_work", "MB fetched, frames decoded and encoded, pairs of flow.", ("stage",)
            ),
        }

    def add(self, row: dict[str, Any]) -> None:
        """Count the status row of a clip (`pipeline.ingest.staging.make_store`); call this once for each clip."""
        self.clips += 1
        good = row["status"] == "ok"
        if not good:
            self.failed[row["error_class"]] += 1
        self._counters["clips"].inc(1, {"status": row["status"], "error_class": row["error_class"] or ""})
        self.add_work(row)
        self._progress.advance(note=self.note())

    def add_work(self, row: dict[str, Any]) -> None:
        """Count the work in a status row, which may be that of a candidate that is not the clip."""
        frames, pairs = row["num_frames"] or 0, row["num_flow"] or 0
        work = {"fetch": (row["fetched"] or 0) / 1e6, "decode": frames, "flow": pairs, "encode": frames}
        for stage in STAGES:
            seconds = row[f"{stage}_s"]
            if seconds:
                self._seconds[stage] += seconds
                self._counters["seconds"].inc(seconds, {"stage": stage})
            if seconds and work[stage]:
                self._work[stage] += work[stage]
                self._counters["work"].inc(work[stage], {"stage": stage})

    @property
    def done(self) -> int:
        """Number of clips that are done, in this run or before."""
        return self._progress.done

    @property
    def total(self) -> int:
        """Number of all clips."""
        return self._progress.total

    def stages(self) -> dict[str, dict[str, float]]:
        """Return, for each stage that ran, seconds over all workers, work done, and work per second and core."""
        return {
            stage: {
                "seconds": round(self._seconds[stage], 2),
                unit: round(self._work[stage], 2),
                f"{unit}_per_second": round(self._work[stage] / self._seconds[stage], 2),
            }
            for stage, unit in STAGES.items()
            if self._seconds[stage]
        }

    def note(self) -> str:
        """Return rates and failures: `a core: decode 905 frames/s, flow 24.3 pairs/s; 3 failed: Truncated 2, ...`."""
        rates = ", ".join(
            f"{stage} {self._work[stage] / self._seconds[stage]:.3g} {unit}/s"
            for stage, unit in STAGES.items()
            if self._seconds[stage]
        )
        classes = ", ".join(f"{name} {count}" for name, count in self.failed.most_common())
        failed = f"{self.failed.total()} failed: {classes}" if classes else ""
        return "; ".join(part for part in (rates and f"a core: {rates}", failed) if part)
