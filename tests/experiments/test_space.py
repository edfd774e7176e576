"""Any field is an axis; fields that follow from an axis follow it; what cannot be trained is refused."""

import pytest

from pipeline.command_line import override
from pipeline.config import Config, ConfigError, SweepConfig
from pipeline.experiments.space import Range, Space, described, pinned, read_axes, trial_config
from pipeline.recipes.quo_vadis import i3d_kinetics
from pipeline.recipes.resnet3d import resnet3d18_kinetics

CLIPS = {"train": 480, "val": 64}


def space(tiny: Config, **changes: object) -> Space:
    return Space(SweepConfig(base=pinned(tiny, 8), **changes), CLIPS, 8)


def test_a_grid_has_every_combination_and_repeats_come_one_after_the_other(tiny):
    axes = {"clips.frames": "2,4", "optimiser.lr": "0.1,0.01", "seed": "0,7"}
    found = space(tiny, axes=axes)
    assert len(found.points()) == 4
    trials = found.trials(found.points())
    assert [trial.seed for trial in trials] == [0] * 4 + [7] * 4
    assert str(trials[1]) == "frames 2 lr 0.01 seed 0"
    assert (trials[1].training.config.clips.frames, trials[1].training.config.optimiser.lr) == (2, 0.01)
    assert len({trial.key({tiny.ingest.shards: "d"}) for trial in trials}) == 8


def test_resolution_takes_the_shorter_side_along_and_depth_the_windows_of_validation_and_test():
    base = i3d_kinetics()
    assert (base.clips.crop, base.evaluation.val_frames) != (56, 32)
    config = trial_config(base, {"clips.crop": "56", "clips.frames": "32"})
    side = base.clips.short_side or base.ingest.short_side
    assert config.clips.short_side == round(side * 56 / base.clips.crop)
    assert config.evaluation.val_frames == 32
    assert trial_config(base, {"clips.short_side": str(side // 2)}).clips.crop == round(base.clips.crop / 2)
    both = trial_config(base, {"clips.crop": "56", "clips.short_side": "100"})
    assert (both.clips.crop, both.clips.short_side) == (56, 100)


def test_crops_at_several_scales_span_the_side_whatever_their_size():
    config = trial_config(resnet3d18_kinetics(), {"clips.crop": "56"})
    assert (config.clips.crop, config.clips.short_side) == (56, None)


def test_a_fold_chooses_the_sides_and_is_a_repeat(tiny):
    base = override(tiny, {"catalog.dataset": "folder", "evaluation.split": "auto"})
    sweep = SweepConfig(base=pinned(base, 8), axes={"catalog.fold": "0,3", "seed": "1"}, over=("catalog.fold", "seed"))
    found = Space(sweep, {f"{side}{fold}": 8 for side in ("train", "val", "test") for fold in (0, 3)}, 8)
    trials = found.trials(found.points())
    assert [str(trial) for trial in trials] == ["fold 0 seed 1", "fold 3 seed 1"]
    config = trials[1].training.config
    assert (config.training.train_split, config.training.val_split, config.evaluation.split) == (
        "train3", "val3", "test3",
    )  # fmt: skip
    assert len({trial.key({tiny.ingest.shards: "d"}) for trial in trials}) == 2
    with pytest.raises(ConfigError, match=r"axes\.catalog\.fold: all; give the numbers.* made with catalog\.fold all"):
        read_axes(SweepConfig(base=base, axes={"catalog.fold": "all"}))


def test_equal_multiply_adds_hold_on_each_fold(tiny):
    base = override(tiny, {"catalog.dataset": "folder", "training.epochs": "4"})
    axes = {"clips.frames": "4", "catalog.fold": "0,1"}
    sweep = SweepConfig(base=pinned(base, 8), axes=axes, over=("catalog.fold",), budget="gmacs")
    found = Space(sweep, {"train0": 480, "val0": 64, "train1": 240, "val1": 64}, 8)
    assert [trial.training.config.training.steps for trial in found.trials(found.points())] == [240, 120]


def test_the_clips_of_a_step_stay_and_larger_clips_come_in_smaller_batches():
    small = {"training.batch_size": "6", "clips.frames": "16", "clips.crop": "112", "clips.short_side": "128"}
    base = pinned(override(i3d_kinetics(), small), 48)
    for axes, batch in (({"clips.frames": "32"}, 3), ({"clips.crop": "224"}, 1), ({"clips.frames": "8"}, 6)):
        config = trial_config(base, axes)
        assert (config.training.batch_size, config.clips_of_a_step) == (batch, 48)


def test_another_network_takes_only_the_options_that_it_has(tiny):
    assert tiny.model.options == {"batch_norm_momentum": 0.1}
    assert trial_config(tiny, {"model.name": "resnet3d18"}).model.options == {}
    assert trial_config(tiny, {"model.name": "i3d"}).model.options == tiny.model.options


def test_equal_multiply_adds_give_a_cheaper_clip_more_steps(tiny):
    found = space(override(tiny, {"training.epochs": "4"}), axes={"clips.frames": "4,8"}, budget="gmacs")
    same, dearer = (trial.training.config.training for trial in found.trials(found.points()))
    assert same.steps == 4 * 480 // 8
    assert dearer.steps == pytest.approx(same.steps / 2, rel=0.3)
    assert dearer.epochs == -(-dearer.steps // 60)


def test_an_axis_that_changes_the_steps_of_an_epoch_leaves_those_of_the_training(tiny):
    found = space(override(tiny, {"training.epochs": "4"}), axes={"training.clips_per_step": "8,4", "seed": "0"})
    base, smaller = (trial.training.config.training for trial in found.trials(found.points()))
    assert (base.steps, base.epochs) == (None, 4)
    assert (smaller.steps, smaller.epochs) == (4 * found.clips["train"] // 8, 2)
    longer = space(tiny, axes={"training.clips_per_step": "4", "training.epochs": "3"})
    (trial,) = longer.trials(longer.points())
    assert (trial.training.config.training.steps, trial.training.config.training.epochs) == (None, 3)


def test_a_smaller_batch_is_a_share_of_the_step_that_every_worker_has(tiny):
    base = pinned(override(tiny, {"resources.workers": "4", "training.batch_size": "6"}), 24)
    assert trial_config(base, {"clips.frames": "6"}).training.batch_size == 3  # 4 is no divisor of 24 over 4 workers


def test_random_points_follow_from_the_seed_and_lie_in_their_ranges(tiny):
    axes = {"optimiser.lr": "loguniform(1e-4, 1e-1)", "clips.frames": "randint(2,5)", "model.dropout": "uniform(0,0.5)"}
    drawn = space(tiny, axes=axes, sampler="random", points=12).points()
    assert drawn == space(tiny, axes=axes, sampler="random", points=12).points()
    assert drawn[:5] == space(tiny, axes=axes, sampler="random", points=5).points()
    assert len({tuple(point.values()) for point in drawn}) == 12
    assert all(1e-4 <= float(point["optimiser.lr"]) <= 1e-1 for point in drawn)
    assert {point["clips.frames"] for point in drawn} == {"2", "3", "4", "5"}
    other = override(tiny, {"seed": "1"})
    assert drawn != space(other, axes=axes, sampler="random", points=12).points()


def test_the_ends_of_a_range_are_values_of_it():
    assert [Range("loguniform", 1e-4, 1e-1).at(share) for share in (0, 0.5, 1)] == ["0.0001", "0.003162", "0.1"]
    assert [Range("randint", 2, 4).at(share) for share in (0, 0.5, 1)] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"clips.frame": "4"}, r"axes\.clips\.frame: no such field; did you mean --axes\.clips\.frames\?"),
        ({"clips.frames": "4,4"}, r"axes\.clips\.frames: 4,4; give different values"),
        ({"clips.frames": ""}, r"axes\.clips\.frames: empty; give different values"),
        ({"clips.frames": "4,x"}, r"clips\.frames: 'x': Input should be a valid integer"),
        ({"resources.workers": "1,2"}, r"axes\.resources\.workers: it does not change a training on given shards"),
        ({"optimiser.lr": "uniform(0,1)"}, r"a grid needs values, not uniform\(0,1\); --sampler random or tpe"),
    ],
)
def test_a_wrong_axis_is_answered_in_one_line(tiny, axes, message):
    with pytest.raises(ConfigError, match=message):
        read_axes(SweepConfig(base=tiny, axes=axes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uniform(1,0)", "give the smaller end first"),
        ("loguniform(0,1)", "give the smaller end first, above 0"),
        ("uniform(a,1)", "its ends are not numbers"),
        ("uniform(-1,1)", r"optimiser\.lr"),
    ],
)
def test_a_wrong_range_is_answered_in_one_line(tiny, text, message):
    with pytest.raises(ConfigError, match=message):
        read_axes(SweepConfig(base=tiny, axes={"optimiser.lr": text}, sampler="random"))


def test_values_that_do_not_fit_are_named_with_their_point(tiny):
    found = space(tiny, axes={"clips.crop": "16,64"})  # the stored clips have 32 pixels
    with pytest.raises(ConfigError, match=r"^crop 64: clips\.short_side: 64 pixels are more than the 32 of the stored"):
        found.trials(found.points())


def test_lists_are_axes_too(tiny):
    axes = read_axes(SweepConfig(base=tiny, axes={"model.streams": "rgb;rgb,flow"}))
    assert axes == {"model.streams": ("rgb", "rgb,flow")}
    assert read_axes(SweepConfig(base=tiny, axes={"model.streams": "rgb,flow"})) == {"model.streams": ("rgb,flow",)}


def test_axes_of_the_same_last_name_are_named_in_full():
    assert described({"training.batch_size": "2", "evaluation.batch_size": "4"}, over=()) == (
        "training.batch_size 2 evaluation.batch_size 4"
    )
