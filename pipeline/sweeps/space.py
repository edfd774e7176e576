"""The search space that the papers searched by hand: T3D section 4.1 (temporal depth, stride, frame size)."""

import itertools
from dataclasses import replace

from ray import tune

from pipeline.config import Config, SweepConfig

AXES = ("frames", "stride", "crop")


def param_space(sweep: SweepConfig) -> dict[str, dict[str, list[int]]]:
    """Every combination once, as Tune's grid."""
    return {
        "frames": tune.grid_search(list(sweep.frames)),  # temporal depth: what one window sees of the motion
        "stride": tune.grid_search(list(sweep.strides)),  # the same frames over a longer time
        "crop": tune.grid_search(list(sweep.crops)),  # resolution: quadratic in cost
    }


def trials(sweep: SweepConfig) -> int:
    """How many combinations there are."""
    return len(list(itertools.product(sweep.frames, sweep.strides, sweep.crops)))


def trial_config(base: Config, point: dict[str, int], name: str) -> Config:
    """The base config with one point of the space: a trial can be repeated as a training of its own."""
    clips = replace(base.clips, frames=point["frames"], stride=point["stride"], crop=point["crop"])
    return replace(base, name=name, clips=clips)
