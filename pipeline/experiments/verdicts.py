"""Decide whether a claim is confirmed, by comparing the difference between two sides with its spread over seeds."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.experiments.claims import Comparison
from pipeline.experiments.trial import Outcome, Outcomes

Answer = Literal["yes", "unclear", "no", "did not run"]


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        comparison: the comparison.
        first: the first side's value for each seed, as a share of clips or a number of steps.
        second: the second side's value for each seed.
        seeds: the seeds for which both sides have outcomes.
        clips: number of clips on which the values were measured: test clips, or validation clips for steps.
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
        """How much better the first side is, for each seed; infinite if one side never reaches the accuracy."""
        sign = -1 if self.comparison.measure == "steps" else 1
        return [sign * (a - b) if a != b else 0.0 for a, b in zip(self.first, self.second, strict=True)]

    @property
    def answer(self) -> Answer:
        """Whether the claim is confirmed.

        Yes: the mean difference exceeds the margin by more than one standard deviation over seeds. Unclear: it exceeds
        the margin by less. No: it does not exceed the margin, or with some seed the first side never reaches the
        accuracy.
        """
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
    """Compare the two sides on the seeds for which both have outcomes."""
    sides = (comparison.first, comparison.second)
    ids = {seed: [side.training.trial(seed).id for side in sides] for seed in seeds}
    there = tuple(seed for seed in seeds if all(one in outcomes for one in ids[seed]))  # what failed has no outcome
    pairs = [tuple(outcomes[one] for one in ids[seed]) for seed in there]
    one, other = (side.network for side in sides)
    if comparison.measure == "steps":
        goals = [best(second, other) for _, second in pairs]
        values = [
            (steps_to(first, one, goal), steps_to(second, other, goal))
            for (first, second), goal in zip(pairs, goals, strict=True)
        ]
    else:
        values = [(top1(first, one), top1(second, other)) for first, second in pairs]
    firsts, seconds = zip(*values, strict=True) if values else ((), ())
    clips, digest = (_clips(comparison, pairs[0][0]), pairs[0][0].digest) if pairs else (0, "")
    return Verdict(comparison, firsts, seconds, there, clips, digest)


def top1(outcome: Outcome, network: str) -> float:
    """Return the top-1 accuracy of a network, or of the worse or better of the two streams, as a share of clips."""
    if network in ("worse", "better"):
        streams = [outcome.top1["rgb"], outcome.top1["flow"]]
        return min(streams) if network == "worse" else max(streams)
    return outcome.top1[network]


def best(outcome: Outcome, network: str) -> float:
    """Return the highest validation accuracy that a network reached in any epoch."""
    return max(row["val/top1"] for row in outcome.history[network])


def steps_to(outcome: Outcome, network: str, goal: float) -> float:
    """Return the optimiser steps until validation accuracy first reaches the goal; infinite if it never does."""
    reached = zip(outcome.steps(network), outcome.history[network], strict=True)
    return next((float(steps) for steps, row in reached if row["val/top1"] >= goal), math.inf)


def _clips(comparison: Comparison, outcome: Outcome) -> int:
    if comparison.measure == "steps":
        return int(outcome.history[comparison.first.network][-1]["val/clips"])
    return outcome.clips
