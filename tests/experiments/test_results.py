"""The table of a sweep: means with their spread, failures apart and never as numbers, what was stopped at the end."""

import csv
import io

from pipeline.config import Config
from pipeline.experiments.charts import axis_figure, cost_figure
from pipeline.experiments.results import csv_rows, markdown, rows_of, shown_rows, spread, trial_rows
from pipeline.experiments.trial import Outcome, Training
from pipeline.table import csv_text


def training(frames: str) -> Training:
    return Training(f"frames {frames}", "data", Config(), axes={"clips.frames": frames})


def outcome(val: float, test: float | None = None, ended: str = "done") -> Outcome:
    row = {"train/clips": 48.0, "val/top1": val, "val/loss": 1.0, "perf/clips_per_second": 8.0, "perf/memory_gib": 1.5}
    top1 = {} if test is None else {"flow": test}
    cost = {"gmacs": 2.0, "parameters": 1e6, "core_hours": 0.5}
    return Outcome("run", top1, 16, "d", {"flow": [row]}, 8, {}, 1.0, {"flow": row}, ended, cost)


TRIALS = [training(frames).trial(seed) for seed in (0, 1) for frames in ("4", "8", "16", "32")]
OUTCOMES = {
    ("frames 4", 0): outcome(0.4, 0.5), ("frames 4", 1): outcome(0.6, 0.7),
    ("frames 8", 0): outcome(0.9, ended="stopped early"), ("frames 8", 1): outcome(0.9),
    ("frames 16", 0): outcome(0.3),
}  # fmt: skip
FAILED = {"frames 16 seed 1": "ValueError: =1+1", "frames 32 seed 0": "lost", "frames 32 seed 1": "lost"}


def test_the_best_that_was_trained_to_the_end_comes_first_and_what_failed_has_no_numbers():
    rows = rows_of(TRIALS, OUTCOMES, over=("seed",))
    assert [row.axes["clips.frames"] for row in rows] == ["4", "16", "8", "32"]
    assert [row.state for row in rows] == ["done", "1 failed", "1 stopped early", "2 failed"]
    table = shown_rows(rows, ["clips.frames"])
    assert table[0][:4] == ["frames", "trials", "val top-1 %", "test top-1 %"]
    assert table[1][:4] == ["4", 2, "50.0 ± 14.1", "60.0 ± 14.1"]
    assert table[2][:4] == ["16", 1, "30.0", "-"]
    assert table[4] == ["32", 0, "-", "-", "-", "-", "-", "-", "-", "-", "2 failed"]


def test_the_streams_of_a_fusion_stand_beside_it():
    both = Outcome("run", {"rgb": 0.4, "flow": 0.6, "two_stream": 0.7}, 16, "d", {}, 8, {}, 1.0, {})
    rows = rows_of(TRIALS[:2], {("frames 4", 0): both, ("frames 8", 0): outcome(0.3, 0.5)}, over=("seed",))
    head, *body = shown_rows(rows, ["clips.frames"])
    assert head[3:6] == ["test top-1 %", "rgb", "flow"]
    assert {row[0]: row[3:6] for row in body} == {"4": ["70.0", "40.0", "60.0"], "8": ["50.0", "-", "-"]}
    table = csv.DictReader(io.StringIO(csv_text(csv_rows(rows, ["clips.frames"]))))
    first = next(row for row in table if row["clips.frames"] == "4")
    assert (first["test/rgb_top1"], first["test/flow_top1"], first["test/top1"]) == ("0.4", "0.6", "0.7")


def test_csv_has_every_figure_and_nothing_where_there_is_none():
    rows = rows_of(TRIALS, OUTCOMES, over=("seed",))
    first, *_, last = csv.DictReader(io.StringIO(csv_text(csv_rows(rows, ["clips.frames"]))))
    assert (float(first["val/top1"]), float(first["core_hours"])) == (0.5, 1.0)
    assert float(first["val/top1 sd"]) == spread([0.4, 0.6])
    assert {last[name] for name in ("val/top1", "test/top1", "gmacs", "core_hours")} == {""}
    trials = list(csv.DictReader(io.StringIO(csv_text(trial_rows(TRIALS, OUTCOMES, FAILED)))))
    (wrong,) = [row for row in trials if row["clips.frames"] == "16" and row["seed"] == "1"]
    assert (wrong["val/top1"], wrong["state"], wrong["reason"]) == ("", "failed", "ValueError: =1+1")


def test_the_report_names_failures_as_text():
    rows = rows_of(TRIALS, OUTCOMES, over=("seed",))
    text = markdown("sweep", ["Data."], rows, ["clips.frames"], {"frames 16 seed 1": "<b>|x"})
    assert "- **failed**: frames 16 seed 1: \\<b\\>\\|x" in text
    assert "| 4 | 2 | 50.0 ± 14.1 |" in text


def test_an_axis_has_a_bar_for_its_spread_and_stopped_points_stand_alone():
    rows = rows_of(TRIALS, OUTCOMES, over=("seed",))
    (axes,) = axis_figure(rows, "clips.frames", "t").axes
    (container,) = axes.containers
    assert list(container.lines[0].get_xdata()) == [4.0, 16.0]
    assert axes.get_xlabel() == "clips.frames"
    assert list(axes.lines[-1].get_xdata()) == [8.0]
    (axes,) = cost_figure(rows, "t").axes
    assert len(axes.containers) == 2
