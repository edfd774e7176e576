"""Recipes: functions that return a whole config, one module a paper; named after what they reproduce."""

from collections.abc import Callable

from pipeline.config import Config, SweepConfig
from pipeline.recipes import demo, quo_vadis

PRETRAIN: dict[str, Callable[[], Config]] = {
    "i3d_kinetics": quo_vadis.i3d_kinetics,
    "demo": demo.demo,
}

SWEEP: dict[str, Callable[[], SweepConfig]] = {
    "i3d_sweep": quo_vadis.i3d_sweep,
    "demo_sweep": demo.demo_sweep,
}
