"""What is compared, and when a claim counts as come out."""

import math

import pytest

from pipeline.config import ConfigError
from pipeline.experiments.claims import CLAIMS, Comparison, Side, chosen
from pipeline.experiments.claims_report import results, rows, shown
from pipeline.experiments.settings import StudyConfig
from pipeline.experiments.trial import Outcome
from pipeline.experiments.verdicts import Verdict, judge, steps_to, top1

STUDY = StudyConfig(storage="/nowhere")
TRANSFER = CLAIMS["transfer"](STUDY)
FULL, ORIGINAL = (side.training for side in (TRANSFER.comparisons[1].first, TRANSFER.comparisons[1].second))


def outcome(test: float, val: list[float]) -> Outcome:
    history = [{"train/clips": 48.0, "val/top1": share, "val/clips": 80.0} for share in val]
    return Outcome("name", {"flow": test}, 160, "digest", {"flow": history}, 8, {"flow": "model.pt"}, 1.0, {})


def verdict(first: list[float], second: list[float], measure: str = "top1", margin: float = 0.0) -> Verdict:
    sides = (Side("a", FULL, "flow"), Side("b", ORIGINAL, "flow"))
    return Verdict(Comparison(*sides, measure, margin), tuple(first), tuple(second), tuple(range(len(first))))


@pytest.mark.parametrize(
    ("first", "second", "margin", "answer"),
    [
        ([0.8, 0.82, 0.81], [0.5, 0.51, 0.49], 0.0, "yes"),
        ([0.8, 0.82, 0.81], [0.5, 0.51, 0.49], 0.4, "no"),  # better, but not by the margin
        ([0.9, 0.5, 0.5], [0.5, 0.5, 0.5], 0.0, "unclear"),  # one seed makes the mean
        ([0.5, 0.5], [0.5, 0.5], 0.0, "no"),
        ([0.6], [0.5], 0.0, "yes"),
        ([], [], 0.0, "did not run"),
    ],
)
def test_a_claim_comes_out_when_seeds_differ_by_less_than_its_sides(first, second, margin, answer):
    assert verdict(first, second, margin=margin).answer == answer


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        ([10.0, 20.0], [60.0, 80.0], "yes"),
        ([60.0, 80.0], [10.0, 20.0], "no"),
        ([math.inf, 10.0], [60.0, 80.0], "no"),  # one never gets there
        ([60.0, 60.0], [60.0, 60.0], "no"),
    ],
)
def test_fewer_steps_are_better(first, second, answer):
    assert verdict(first, second, "steps").answer == answer


def test_the_goal_of_a_race_is_the_best_of_the_second_side():
    outcomes = {
        ("i3d-flow-full", 0): outcome(0.7, [0.3, 0.5, 0.6]),
        ("i3d-flow-original", 0): outcome(0.4, [0.1, 0.4, 0.35]),
        ("i3d-flow-full", 1): outcome(0.7, [0.1, 0.1, 0.1]),
        ("i3d-flow-original", 1): outcome(0.4, [0.1, 0.1, 0.2]),
        ("i3d-flow-full", 2): outcome(0.7, [0.3]),  # whose other side failed
    }
    race = next(c for c in CLAIMS["start"](STUDY).comparisons if c.first.training.name == "i3d-flow-full")
    found = judge(race, outcomes, (0, 1, 2))
    assert (found.first, found.second) == ((12.0, math.inf), (12.0, 18.0))
    assert (found.seeds, found.clips, found.digest) == ((0, 1), 80, "digest")
    assert found.answer == "no"
    tested = judge(TRANSFER.comparisons[1], outcomes, (0, 1, 2))
    assert (tested.first, tested.second, tested.clips) == ((0.7, 0.7), (0.4, 0.4), 160)


def test_steps_are_counted_to_the_end_of_the_first_epoch_that_is_there():
    run = outcome(0.5, [0.1, 0.3, 0.2, 0.4])
    assert [steps_to(run, "flow", goal) for goal in (0.05, 0.3, 0.35, 0.5)] == [6, 12, 24, math.inf]


def test_the_worse_and_the_better_stream():
    both = Outcome("n", {"rgb": 0.2, "flow": 0.8, "two_stream": 0.9}, 160, "d", {}, 8, {}, 1.0, {})
    assert [top1(both, name) for name in ("worse", "better", "two_stream")] == [0.2, 0.8, 0.9]


def test_a_row_has_means_and_the_range_of_the_seeds():
    table = rows([(TRANSFER, [verdict([0.8, 0.9], [0.5, 0.6]), verdict([math.inf], [12.0], "steps")])])
    assert table[1] == ["transfer", "a / b", "test top-1 %", "85.0 (80.0 to 90.0)", "55.0 (50.0 to 60.0)", 0, 2, "yes"]
    assert table[2][3:5] == ["never", "12"]
    assert shown((), "top1") == "-"
    assert results([(TRANSFER, [verdict([math.inf], [12.0], "steps")])])[0]["values"] == {
        "first": [None],
        "second": [12.0],
    }


def test_a_claim_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="--claims transfr: no such claim; did you mean transfer"):
        chosen(StudyConfig(claims=("transfr",)))
    assert [claim.name for claim in chosen(StudyConfig(claims=("start",)))] == ["start"]
    assert [claim.name for claim in chosen(STUDY)] == list(CLAIMS)
