"""Progress of a running ingest: clips, failures by class and rates of the stages, as text and as Ray metrics."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ray.util import metrics

from pipeline.lasting_gauge import LastingGauge
from pipeline.progress import Progress, duration

STAGES = {"fetch": "MB", "decode": "frames", "flow": "pairs", "encode": "frames", "network": "windows"}
"""Every stage, and the unit in which its work is counted."""

SHOWN = 3
"""Largest number of long clips of which a line says how far they are."""


class Figures:
    """Sums over the status rows of clips (`pipeline.ingest.staging.make_store`).

    Attributes:
        clips: number of clips by status and error class.
        seconds: seconds of work by stage, over all workers.
        work: work by stage, in the unit of the stage.
    """

    def __init__(self) -> None:
        self.clips: Counter[tuple[str, str]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.work: defaultdict[str, float] = defaultdict(float)

    def add(self, row: dict[str, Any], counts: bool = True) -> None:
        """Add the status row of a clip, or of a candidate that is not the clip and so does not count."""
        self.clips[row["status"], row["error_class"] or ""] += counts
        frames, pairs = row["num_frames"] or 0, row["num_flow"] or 0
        work = {"fetch": (row["fetched"] or 0) / 1e6, "decode": frames, "flow": pairs, "encode": frames}
        work["network"] = row.get("windows") or 0
        for stage in STAGES:
            if seconds := row.get(f"{stage}_s"):
                self.seconds[stage] += seconds
                self.work[stage] += work[stage]


class Tally:
    """The sums of a run, which prints the progress and updates the metrics of Ray's dashboard."""

    def __init__(self, total: int, before: int, write: Callable[[str], object] | None, what: str = "ingest") -> None:
        """Start to count.

        Args:
            total: number of clips.
            before: number of clips that an earlier run has done.
            write: function that takes the lines of progress; if None, they go to the console.
            what: name of the run, in its lines and metrics.
        """
        self.clips = total - before
        self.failed: Counter[str] = Counter()
        self._sums = Figures()
        self._within: Mapping[str, float] = {}
        self._progress = Progress(what, total, before=before, write=write)
        self._counters = {
            "clips": metrics.Counter(f"{what}_clips", "Clips done.", tag_keys=("status", "error_class")),
            "seconds": metrics.Counter(f"{what}_seconds", "Seconds of work in a stage, over all workers.", ("stage",)),
            "work": metrics.Counter(
                f"{what}_work", "MB fetched, frames decoded and encoded, pairs of flow, windows.", ("stage",)
            ),
        }
        self._left = LastingGauge(f"{what}_clips_left", "Clips to do; it ends with the run, as counters do not.")

    def add(self, figures: Figures) -> None:
        """Add the figures of some more clips."""
        for (status, error_class), count in figures.clips.items():
            if count:
                self._counters["clips"].inc(count, {"status": status, "error_class": error_class})
            if status != "ok":
                self.failed[error_class] += count
        for name, sums, more in (
            ("seconds", self._sums.seconds, figures.seconds),
            ("work", self._sums.work, figures.work),
        ):
            for stage, amount in more.items():
                sums[stage] += amount
                if amount:
                    self._counters[name].inc(amount, {"stage": stage})
        if count := figures.clips.total():
            self._progress.advance(min(count, self.total - self.done), self.note())
        self._left.set(self.total - self.done)

    def heard(self) -> AbstractContextManager[None]:
        """Return the `with` statement of a run, during which Prometheus sees how many clips are left."""
        return self._left.heard()

    def within(self, clips: Mapping[str, float]) -> None:
        """Say how far long clips are, if that is news and no line was written for a while.

        Args:
            clips: the seconds that are done of each long clip at work, by its id.
        """
        if clips and clips != self._within:
            self._within = clips
            far = ", ".join(f"{name} at {duration(seconds)}" for name, seconds in list(clips.items())[:SHOWN])
            self._progress.tell("; ".join(filter(None, [f"in long clips: {far}", self.note()])))

    def end(self) -> None:
        """Count every clip as done: those whose worker was killed before it could report them, and failed ones."""
        if self.done < self.total:
            self._progress.advance(self.total - self.done, self.note())
        self._left.set(0)

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
        sums = self._sums
        return {
            stage: {
                "seconds": round(sums.seconds[stage], 2),
                unit: round(sums.work[stage], 2),
                f"{unit}_per_second": round(sums.work[stage] / sums.seconds[stage], 2),
            }
            for stage, unit in STAGES.items()
            if sums.seconds[stage]
        }

    def note(self) -> str:
        """Return rates and failures: `a core: decode 905 frames/s, flow 24.3 pairs/s; 3 failed: Truncated 2, ...`."""
        rates = ", ".join(
            f"{stage} {self._sums.work[stage] / self._sums.seconds[stage]:.3g} {unit}/s"
            for stage, unit in STAGES.items()
            if self._sums.seconds[stage]
        )
        classes = ", ".join(f"{name} {count}" for name, count in self.failed.most_common())
        failed = f"{self.failed.total()} failed: {classes}" if classes else ""
        return "; ".join(part for part in (rates and f"a core: {rates}", failed) if part)
