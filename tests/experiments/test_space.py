"""Any field is an axis; fields that follow from an axis follow it; what cannot be trained is refused."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.command_line import override
from pipeline.config import Config, ConfigError, SweepConfig
from pipeline.experiments.results import rows_of, shown_rows
from pipeline.experiments.space import (
    Range,
    Space,
    as_flags,
    described,
    on_first_set,
    pinned,
    read_axes,
    sets_of,
    trial_config,
)
from pipeline.experiments.sweep import _manifests
from pipeline.recipes.quo_vadis import i3d_kinetics
from pipeline.recipes.resnet3d import resnet3d18_kinetics
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.schema import CLIPS_SCHEMA
from pipeline.shards.splits import clips_in

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
    assert [float(Range("uniform", 0.00012345, 123456).at(share)) for share in (0, 1)] == [0.00012345, 123456]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"clips.frame": "4"}, r"axes\.clips\.frame: no such field; did you mean --axes\.clips\.frames\?"),
        ({"clips.frames": "4,4"}, r"axes\.clips\.frames: 4,4; give different values"),
        ({"clips.frames": ""}, r"axes\.clips\.frames: empty; give different values"),
        ({"clips.frames": "4,x"}, r"clips\.frames: 'x': Input should be a valid integer"),
        ({"resources.workers": "1,2"}, r"axes\.resources\.workers: it does not change a training on given shards"),
        ({"optimiser.lr": "uniform(0,1)"}, r"a grid needs values, not uniform\(0,1\); --sampler random or tpe"),
        ({"optimiser.lr": "0.1,1e-1"}, r"axes\.optimiser\.lr: 0\.1,1e-1; give different values"),
        ({"clips.flip": "true,True"}, r"axes\.clips\.flip: true,True; give different values"),
        ({"seed": "1,01"}, r"axes\.seed: 1,01; give different values"),
        ({"recipe": "demo,i3d_kinetics"}, r"axes\.recipe: it does not change a training on given shards"),
        ({"allow_other_data": "true,false"}, r"axes\.allow_other_data: it does not change a training"),
        ({"evaluation.protocol": "views,i3d"}, r"axes\.evaluation\.protocol: it does not change a training"),
        ({"training.accumulate": "1,2"}, r"axes\.training\.accumulate: it does not change a training"),
        ({"optimiser.lr": "log(1e-4,1e-1)"}, r"axes\.optimiser\.lr: log\(1e-4,1e-1\): no such range; uniform"),
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
        ("uniform(0,inf)", "give the smaller end first"),
    ],
)
def test_a_wrong_range_is_answered_in_one_line(tiny, text, message):
    with pytest.raises(ConfigError, match=message):
        read_axes(SweepConfig(base=tiny, axes={"optimiser.lr": text}, sampler="random"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("clips.frames", "uniform(8,64)", r"its values are whole numbers; randint\(8,64\) draws them"),
        ("clips.short_side", "loguniform(8,64)", r"its values are whole numbers; randint\(8,64\) draws them"),
        ("clips.frames", "randint(2.7,4.9)", "give whole numbers"),
        ("clips.flip", "uniform(0,1)", "its values are no numbers"),
        ("schedule.milestones", "randint(1,4)", "its values are no numbers"),
        ("model.name", "randint(1,4)", "its values are no numbers"),
    ],
)
def test_a_range_holds_what_its_field_can_be(tiny, name, text, message):
    for sampler in ("random", "tpe"):
        with pytest.raises(ConfigError, match=rf"^axes\.{name}: .*{message}"):
            read_axes(SweepConfig(base=tiny, axes={name: text}, sampler=sampler))


def test_a_range_of_numbers_may_be_one_of_a_table_or_of_a_field_that_may_be_none(tiny):
    axes = {"model.options.batch_norm_momentum": "uniform(0,1)", "training.clip_gradient": "loguniform(1,9)"}
    assert all(isinstance(axis, Range) for axis in read_axes(SweepConfig(base=tiny, axes=axes, sampler="tpe")).values())


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


def test_entries_of_tables_are_axes(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").touch()
    axes = read_axes(
        SweepConfig(base=tiny, axes={"model.options.shortcut": "A,B", "model.weights.rgb": "a/1.pt,b,run-1"})
    )
    assert axes["model.options.shortcut"] == ("A", "B")
    assert axes["model.weights.rgb"] == (f"{tmp_path}/a/1.pt", f"{tmp_path}/b", "run-1")
    assert trial_config(tiny, {"model.options.shortcut": "A"}).model.options["shortcut"] == "A"
    other = trial_config(tiny, {"model.name": "resnet3d18", "model.options.shortcut": "A"})
    assert other.model.options == {"shortcut": "A"}


def test_fields_follow_from_values_however_they_are_typed(tiny):
    assert (
        trial_config(tiny, {"clips.frames": "8.0"}).evaluation == trial_config(tiny, {"clips.frames": "8"}).evaluation
    )
    assert trial_config(tiny, {"clips.crop": "16.0"}).clips == trial_config(tiny, {"clips.crop": "16"}).clips
    base = override(tiny, {"clips.short_side": "16", "clips.crop": "16"})
    stored = trial_config(base, {"clips.short_side": "none"}).clips
    assert (stored.short_side, stored.crop) == (None, tiny.ingest.short_side)


def test_the_mean_is_over_the_seeds_too_whatever_else_is_named(tiny):
    base = override(tiny, {"catalog.dataset": "folder", "evaluation.split": "test"})
    axes = {"clips.frames": "2,4", "catalog.fold": "0,1", "seed": "0,1"}
    found = Space(SweepConfig(base=pinned(base, 8), axes=axes, over=("catalog.fold",)), {}, 8)
    trials = found.trials(found.points())
    assert len(trials) == 8
    rows = rows_of(trials, {}, found.sweep.over)
    assert [len(row.trials) for row in rows] == [4, 4]
    assert len(shown_rows(rows, list(found.axes))) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"over": ("seeds",)}, r"^over: seeds is no axis; did you mean seed\?"),
        ({"over": ("clips.stride",)}, r"^over: clips\.stride is no axis; did you mean clips\.frames\?"),
        ({"sampler": "tpe"}, r"^points: 16 are more than the 2 combinations .*--points 2"),
        ({"sampler": "random", "axes": {"clips.frames": "randint(2,5)"}}, r"^points: 16 are more than the 4 comb"),
        ({"scheduler": "asha", "axes": {"training.clips_per_step": "4,8"}}, r"which ASHA cannot compare"),
        ({"scheduler": "asha", "axes": {"training.epochs": "4,8"}}, r"which ASHA cannot compare"),
        ({"scheduler": "asha", "axes": {"ingest.shards": "/a,/b"}}, r"which ASHA cannot compare"),
        (
            {"scheduler": "asha", "axes": {"model.streams": "flow;rgb,flow"}},
            r"^axes\.model\.streams: asha compares one",
        ),
    ],
)
def test_axes_that_the_mean_the_sampler_or_the_scheduler_cannot_do_with_are_refused(tiny, changes, message):
    base = override(tiny, {"model.streams": "flow"})
    with pytest.raises(ConfigError, match=message):
        read_axes(SweepConfig(**{"base": base, "axes": {"clips.frames": "2,4"}, **changes}))


def test_asha_may_compare_points_on_the_same_fold(tiny):
    base = override(tiny, {"model.streams": "flow", "catalog.dataset": "folder"})
    axes = {"clips.frames": "2,4", "catalog.fold": "0,1", "model.streams": "rgb;flow"}
    assert read_axes(SweepConfig(base=base, axes=axes, over=("catalog.fold",), scheduler="asha"))


def test_a_random_point_that_cannot_be_trained_is_said_and_another_is_drawn(tiny):
    lines = list[str]()
    axes = {"optimiser.lr": "loguniform(1e-4,1e-1)", "clips.crop": "16,64"}  # the stored clips have 32 pixels
    points = space(tiny, axes=axes, sampler="random", points=5).points(write=lines.append)
    assert [point["clips.crop"] for point in points] == ["16"] * 5
    assert all("crop 64" in line for line in lines)
    assert lines

    def refused(trials):
        raise ConfigError("too small")

    with pytest.raises(ConfigError, match=r"^points: none of \d+ drawn ones can be trained; the last: "):
        space(tiny, axes=axes, sampler="random", points=2).points(refused)


def test_messages_name_the_flags_of_a_sweep(tiny):
    said = "--clips.frames 4 fits, --training.batch_size 2 too, as do --concurrent 1 and --base.model.name i3d"
    assert as_flags(said, {"clips.frames"}) == (
        "--axes.clips.frames 4 fits, --base.training.batch_size 2 too, as do --concurrent 1 and --base.model.name i3d"
    )


def test_steps_beyond_the_epochs_are_not_those_of_the_base(tiny):
    base = override(tiny, {"training.epochs": "1", "training.steps": "10000", "model.streams": "flow"})
    (trial,) = (found := space(base, axes={"training.clips_per_step": "4"})).trials(found.points())
    assert (trial.training.config.training.steps, trial.training.config.training.epochs) == (60, 1)


def made_set(folder: Path, clips: int, classes: str, short_side: int, streams: list[str]) -> str:
    """The manifest of a shard set, without its shards."""
    rows = [
        {
            "clip_id": f"{split}{i}",
            "dataset": "motion_shapes",
            "split": split,
            "label_id": i % 2,
            "label": classes[i % 2],
        }
        | {"status": "ok", "num_frames": 8}
        for split in ("train", "val", "test")
        for i in range(clips)
    ]
    table = pa.Table.from_pylist(rows, schema=CLIPS_SCHEMA)
    folder.mkdir()
    plan = {"settings": {"short_side": short_side, "streams": streams, "fps": 25}}
    write_manifest(str(folder), table, summarise(table, plan))
    return str(folder)


def test_a_shard_set_on_an_axis_brings_its_settings_its_clips_and_its_classes(tiny, tmp_path):
    both = ["rgb", "flow"]
    large, small = (made_set(tmp_path / name, n, "ab", n, both) for name, n in (("large", 64), ("small", 16)))
    sweep = SweepConfig(base=tiny, axes={"ingest.shards": f"{large},{small}", "clips.frames": "2"})
    assert on_first_set(sweep).base.ingest.shards == large
    sweep = SweepConfig(base=pinned(on_first_set(sweep).base, 8), axes=sweep.axes)
    found = Space(sweep, {}, 2, {path: clips_in(_manifests(Space(sweep, {}, 2))[path]) for path in sets_of(sweep)})
    with pytest.raises(
        ConfigError, match=rf"^shards {small} frames 2: clips\.short_side: 32 pixels are more than the 16"
    ):
        found.trials(found.points())  # the demo resizes to 32 pixels
    (trial,) = found.trials([{"ingest.shards": large, "clips.frames": "2"}])
    assert (trial.training.config.ingest.shards, trial.training.config.ingest.short_side) == (large, 64)
    assert found.clips_of(small) == {"train": 16, "val": 16, "test": 16}

    rgb = made_set(tmp_path / "rgb", 16, "ab", 64, ["rgb"])
    with pytest.raises(ConfigError, match=r"model\.streams: flow is not among ingest\.streams \(rgb\)"):
        trial_config(tiny, {"ingest.shards": rgb})
    assert trial_config(tiny, {"ingest.shards": rgb, "model.streams": "rgb"}).ingest.streams == ("rgb",)

    other = made_set(tmp_path / "other", 16, "ac", 64, both)
    for over in (("seed",), ("ingest.shards",)):
        space_ = Space(SweepConfig(base=sweep.base, axes={"ingest.shards": f"{large},{other}"}, over=over), {}, 2)
        if over == ("seed",):
            assert _manifests(space_).keys() == {large, other}
        else:
            with pytest.raises(ConfigError, match=r"^over: ingest\.shards: a mean over .*other says nothing"):
                _manifests(space_)
