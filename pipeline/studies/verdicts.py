"""Whether a claim came out: the difference of each seed, against what seeds differ by."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.studies.claims import Comparison, Side
from pipeline.studies.experiments import Outcome

Answer = Literal["yes", "unclear", "no", "did not run"]
Outcomes = Mapping[tuple[str, int], Outcome]  # by name of the experiment and seed


@dataclass(frozen=True)
class Verdict:
    """What a comparison came to.

    Attributes:
        comparison: what was compared.
        first: its value for each seed; a share of clips, or steps.
        second: the same of the second side.
        seeds: that both sides have.
        clips: that the values stand on: of the test, or for steps of the validation.
        digest: the digest of the data.
    """

    comparison: Comparison
    first: tuple[float, ...]
    second: tuple[float, ...]
    seeds: tuple[int, ...]
    clips: int = 0
    digest: str = ""

    @property
    def differences(self) -> list[float]:
        """By how much the first side is better, for each seed; a side that never gets there is a whole run late."""
        sign = -1 if self.comparison.measure == "steps" else 1
        return [sign * (a - b) if a != b else 0.0 for a, b in zip(self.first, self.second, strict=True)]

    @property
    def answer(self) -> Answer:
        """Yes needs the margin in the mean with a standard deviation between seeds to spare, unclear the mean alone."""
        if not self.seeds:
            return "did not run"
        if any(math.isinf(value) for value in self.differences):
            return "yes" if all(value > 0 for value in self.differences) else "no"
        mean = float(np.mean(self.differences))
        noise = float(np.std(self.differences, ddof=1)) if len(self.seeds) > 1 else 0.0
        if mean <= self.comparison.margin:
            return "no"
        return "yes" if mean - noise > self.comparison.margin else "unclear"


def judge(comparison: Comparison, outcomes: Outcomes, seeds: tuple[int, ...]) -> Verdict:
    """Compare the sides on the seeds that both have."""
    sides = (comparison.first, comparison.second)
    there = tuple(
        seed for seed in seeds if all(_key(side, seed) in outcomes for side in sides)
    )  # what failed is not compared
    pairs = [tuple(outcomes[_key(side, seed)] for side in sides) for seed in there]
    if comparison.measure == "steps":
        values = [
            (steps_to(first, comparison.first.network, goal), steps_to(second, comparison.second.network, goal))
            for first, second in pairs
            for goal in [best(second, comparison.second.network)]
        ]
    else:
        values = [
            (top1(first, comparison.first.network), top1(second, comparison.second.network)) for first, second in pairs
        ]
    firsts, seconds = zip(*values, strict=True) if values else ((), ())
    clips, digest = (_clips(comparison, pairs[0][0]), pairs[0][0].digest) if pairs else (0, "")
    return Verdict(comparison, firsts, seconds, there, clips, digest)


def top1(outcome: Outcome, network: str) -> float:
    """Share of right clips of a network, or of the worse or better one of the streams."""
    if network in ("worse", "better"):
        streams = [outcome.top1["rgb"], outcome.top1["flow"]]
        return min(streams) if network == "worse" else max(streams)
    return outcome.top1[network]


def best(outcome: Outcome, network: str) -> float:
    """The highest validation accuracy of its epochs."""
    return max(row["val/top1"] for row in outcome.history[network])


def steps_to(outcome: Outcome, network: str, goal: float) -> float:
    """Optimiser steps until the validation accuracy first is at the goal; infinite where it never is."""
    reached = zip(outcome.steps(network), outcome.history[network], strict=True)
    return next((float(steps) for steps, row in reached if row["val/top1"] >= goal), math.inf)


def _key(side: Side, seed: int) -> tuple[str, int]:
    return side.experiment.name, side.experiment.trial(seed).seed


def _clips(comparison: Comparison, outcome: Outcome) -> int:
    if comparison.measure == "steps":
        return int(outcome.history[comparison.first.network][-1]["val/clips"])
    return outcome.clips
