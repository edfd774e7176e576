"""The search space that T3D, section 4.1, searched by hand: temporal depth, stride and frame size."""

import itertools
from dataclasses import replace

from ray import tune

from pipeline.config import Config, SweepConfig

AXES = ("frames", "stride", "crop")


def param_space(sweep: SweepConfig) -> dict[str, dict[str, list[int]]]:
    """Return the grid for Tune, in which every combination occurs once."""
    return {
        "frames": tune.grid_search(list(sweep.frames)),  # temporal depth: how much of the motion one window shows
        "stride": tune.grid_search(list(sweep.strides)),  # a larger stride spreads as many frames over a longer time
        "crop": tune.grid_search(list(sweep.crops)),  # resolution: the cost grows with its square
    }


def trials(sweep: SweepConfig) -> int:
    """Return the number of combinations."""
    return len(list(itertools.product(sweep.frames, sweep.strides, sweep.crops)))


def trial_config(base: Config, point: dict[str, int], name: str) -> Config:
    """Return the base config with the values of one point; with it a trial can be repeated as a training."""
    clips = replace(base.clips, frames=point["frames"], stride=point["stride"], crop=point["crop"])
    return replace(base, name=name, clips=clips)
