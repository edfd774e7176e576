"""The learning rate: a pure function of the step, except in the plateau schedule, which remembers validation losses."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pipeline.config import ScheduleConfig


def planned_rate(config: ScheduleConfig, lr: float, step: int, epoch: int, steps: int) -> float | None:
    """Return the learning rate of a step.

    Args:
        config: the config of the schedule.
        lr: the learning rate of the optimiser's config, with which the schedule starts after the warm-up.
        step: number of steps made before this one.
        epoch: number of epochs made before this one.
        steps: number of steps of the whole training.

    Returns:
        The rate, or None if the plateau schedule decides.
    """
    if step < config.warmup_steps:
        return lr * (step + 1) / config.warmup_steps
    if config.name == "step":
        passed = sum(milestone <= (step if config.unit == "steps" else epoch) for milestone in config.milestones)
        return (lr, *config.rates)[passed] if config.rates else lr * config.factor**passed
    if config.name == "cosine":
        done = min((step - config.warmup_steps) / max(steps - config.warmup_steps, 1), 1.0)
        return config.min_lr + (lr - config.min_lr) * (1 + math.cos(math.pi * done)) / 2
    return None


def build_plateau(config: ScheduleConfig, optimiser: Optimizer) -> ReduceLROnPlateau | None:
    """Return the scheduler that lowers the rate on a plateau, or None for the other schedules."""
    if config.name != "plateau":
        return None
    return ReduceLROnPlateau(optimiser, factor=config.factor, patience=config.patience, min_lr=config.min_lr)


def set_rate(optimiser: Optimizer, rate: float | None) -> None:
    """Give all parameters one learning rate; None leaves it as it is."""
    if rate is not None:
        for group in optimiser.param_groups:
            group["lr"] = rate
