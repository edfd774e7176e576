"""The learning rate over time, against numbers worked by hand."""

import pytest
import torch
from torch.optim import SGD

from pipeline.config import ScheduleConfig
from pipeline.training.learning_rate import build_plateau, planned_rate, set_rate


def rates(config, steps, epoch_of=lambda step: 0, lr=1.0):
    return [planned_rate(config, lr, step, epoch_of(step), steps) for step in range(steps)]


def test_a_warm_up_rises_in_equal_steps_and_ends_at_the_full_rate():
    config = ScheduleConfig(warmup_steps=4)
    assert rates(config, 6) == [0.25, 0.5, 0.75, 1.0, None, None]  # then the plateau decides


def test_a_cosine_falls_from_the_end_of_the_warm_up_to_its_lowest_rate():
    config = ScheduleConfig(name="cosine", warmup_steps=2, min_lr=0.2)
    got = [planned_rate(config, 1.0, step, 0, 6) for step in range(7)]
    # half a wave over 4 steps from 1.0 to 0.2: middle 0.6, quarters 0.6 +- 0.4 * cos(45 degrees) = 0.6 +- 0.2828
    assert got == pytest.approx([0.5, 1.0, 1.0, 0.882843, 0.6, 0.317157, 0.2], abs=1e-6)
    assert planned_rate(config, 1.0, 60, 0, 6) == pytest.approx(0.2)  # a run that was made longer stays there


def test_milestones_in_epochs_multiply():
    config = ScheduleConfig(name="step", milestones=(1, 3), factor=0.1)
    got = [planned_rate(config, 0.1, step, epoch, 8) for step, epoch in enumerate((0, 0, 1, 1, 2, 2, 3, 3))]
    assert got == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001])


def test_milestones_in_steps_take_given_rates_which_may_rise_again():
    config = ScheduleConfig(name="step", milestones=(2, 4), unit="steps", rates=(0.01, 0.1))
    assert rates(config, 6, lr=0.1) == [0.1, 0.1, 0.01, 0.01, 0.1, 0.1]


def test_only_a_plateau_watches_the_loss():
    optimiser = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    assert build_plateau(ScheduleConfig(name="cosine"), optimiser) is None
    plateau = build_plateau(ScheduleConfig(factor=0.5, patience=1), optimiser)
    seen = []
    for loss in (3.0, 2.0, 2.0, 2.0, 2.0):
        plateau.step(loss)
        set_rate(optimiser, None)
        seen.append(optimiser.param_groups[0]["lr"])
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "step"}, "milestones: needed for step"),
        ({"milestones": (3,)}, "the schedule is plateau"),
        ({"name": "step", "milestones": (3, 2)}, "3,2 must rise"),
        ({"name": "step", "milestones": (3,), "rates": (0.1, 0.2)}, "rates: 2 for 1 milestones"),
    ],
)
def test_a_schedule_that_contradicts_itself_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**values)
