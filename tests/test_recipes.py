"""Every recipe is built, is valid and comes back from its file; what each says of its paper is so."""

import inspect

import pytest

from pipeline.config import Config, SweepConfig, load, save
from pipeline.experiments.space import trial_config
from pipeline.models import list_models
from pipeline.networks import network_inputs
from pipeline.recipes import FINE_TUNE, PRETRAIN, SWEEP, TRANSFER
from pipeline.recipes.demo import demo
from pipeline.recipes.quo_vadis import i3d_kinetics
from pipeline.runs.training_estimate import plan_training
from pipeline.workers import Machines, fitted

ALL = {**PRETRAIN, **FINE_TUNE, **TRANSFER, **SWEEP}


def base(config: Config | SweepConfig) -> Config:
    return config.base if isinstance(config, SweepConfig) else config


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_is_a_whole_config_of_its_kind(name):
    kind = SweepConfig if name in SWEEP else Config
    assert type(ALL[name]()) is kind
    assert ALL[name]() == ALL[name]()


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_comes_back_from_its_file(name, tmp_path):
    config = ALL[name]()
    save(config, tmp_path / "config.yaml")
    assert load(type(config), tmp_path / "config.yaml") == config
    save(config.resolved(tmp_path), tmp_path / "resolved.yaml")
    assert load(type(config), tmp_path / "resolved.yaml") == config.resolved(tmp_path)


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_says_what_it_reproduces(name):
    assert len(inspect.getdoc(ALL[name])) > 60


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_names_a_network_that_exists_and_options_that_it_has(name):
    model = base(ALL[name]()).model
    known = {info.name: info.options for info in list_models()}
    assert model.name in known
    assert model.options.keys() <= set(known[model.name])


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_leaves_places_to_the_user(name):
    config = base(ALL[name]())
    assert (config.storage, config.name, config.resume) == ("outputs", "", "")
    assert (config.tracking.uri, config.ingest.shards, config.catalog.videos) == ("", "", "")


def test_no_two_recipes_share_a_name():
    assert len(ALL) == len(PRETRAIN) + len(FINE_TUNE) + len(TRANSFER) + len(SWEEP)


def test_recipes_are_named_after_their_functions():
    assert [function.__name__ for function in ALL.values()] == list(ALL)


def test_i3d_is_trained_as_the_paper_says():
    config = i3d_kinetics()
    assert (config.clips.frames, config.clips.stride, config.clips.crop, config.clips.flip) == (64, 1, 224, True)
    assert (config.ingest.short_side, config.ingest.fps, config.ingest.flow.bound) == (256, 25, 20)
    assert (config.optimiser.lr, config.optimiser.momentum, config.optimiser.weight_decay) == (0.1, 0.9, 1e-7)
    assert (config.schedule.factor, config.model.dropout, config.training.batch_size) == (0.1, 0.5, 6)
    assert config.model.streams == ("rgb", "flow")
    assert config.evaluation.frames is None  # the whole video
    assert config.training.epochs == round(115_000 * config.clips_of_a_step / 240_000)


def test_the_demo_never_mirrors_since_its_classes_are_directions():
    assert demo().clips.flip is False
    assert base(SWEEP["demo_sweep"]()).clips.flip is False


def test_the_demo_scales_the_bound_of_flow_with_its_clips():
    config = demo()
    assert config.ingest.flow.bound == 20 * config.ingest.short_side / 256
    assert config.ingest.short_side == config.catalog.motion_shapes.size


def test_the_demo_fits_the_machine_that_it_is_for():
    assert fitted(demo(), Machines(cpus=(1.0,))).resources == demo().resources  # one core will do


@pytest.mark.parametrize("cores", [1, 2, 16])
@pytest.mark.parametrize("name", [name for name in ALL if name not in SWEEP])
def test_every_recipe_fits_any_machine_and_makes_the_same_steps_there(name, cores):
    config = ALL[name]()
    here = fitted(config, Machines(cpus=(float(cores),)))
    assert here.clips_of_a_step == here.resources.workers * here.training.accumulate * here.training.batch_size
    assert name == "demo" or here.clips_of_a_step == config.training.clips_per_step


@pytest.mark.parametrize("name", SWEEP)
def test_every_sweep_fits_two_cores(name):
    sweep = SWEEP[name]()
    assert fitted(sweep.base, Machines(cpus=(2.0,)), sweep.concurrent).resources.number_of_workers == 1


def test_the_demo_bears_no_failed_clip():
    assert demo().ingest.max_failed == 0


@pytest.mark.parametrize("name", sorted(SWEEP.keys() - {"folder_sweep"}))  # whose clips are the user's
def test_every_window_of_a_sweep_can_be_cut_from_its_clips(name):
    sweep = SWEEP[name]()
    seconds = 10 if sweep.base.catalog.dataset.startswith("kinetics") else None
    length = seconds * sweep.base.ingest.fps if seconds else sweep.base.catalog.motion_shapes.frames - 1
    axes = {name: [int(value) for value in values.split(",")] for name, values in sweep.axes.items()}
    assert (max(axes["clips.frames"]) - 1) * max(axes["clips.stride"]) + 1 <= length
    for crop in axes["clips.crop"]:
        trial_config(sweep.base, {"clips.crop": str(crop)})


def test_every_training_of_the_three_papers_has_its_recipe():
    scratch = {name for name, recipe in PRETRAIN.items() if not recipe().model.inflate}
    assert {PRETRAIN[name]().model.name for name in scratch} == {info.name for info in list_models()} - {
        "two_stream_i3d",  # its streams are trained apart, as i3d
        "densenet3d169",  # of no table
        "i3d_resnet50",  # of a later paper
        "inflated",  # of any backbone
        "fused_single_stream",  # from ImageNet alone
    }
    # Quo Vadis, Table 3: with ImageNet all but the 3D ConvNet
    with_imagenet = {recipe().model.name for name, recipe in PRETRAIN.items() if name.endswith("_imagenet_kinetics")}
    both = {"i3d", "convnet_lstm", "two_stream", "fused_two_stream"}
    assert with_imagenet == both | {"single_stream", "fused_single_stream"}


def test_table_4_of_quo_vadis_and_the_other_papers_transfer_are_whole():
    cells = {(config.model.name, config.catalog.dataset, config.model.fine_tune) for config in transfers()}
    table_4 = {
        (network, dataset, mode)
        for network in ("i3d", "convnet_lstm", "c3d", "two_stream", "fused_two_stream")
        for dataset in ("ucf101", "hmdb51")
        for mode in ("original", "fixed", "full")
    }
    assert table_4 <= cells
    assert ("resnext3d101", "hmdb51", "last_block") in cells
    assert ("t3d121", "ucf101", "full") in cells
    assert {("resnet3d18", "ucf101", "original"), ("resnet3d18", "hmdb51", "original")} <= cells
    backbones = {config.model.name for config in (TRANSFER[name]() for name in TRANSFER)}
    assert backbones == {"t3d121", "densenet3d121", "resnet3d50", "i3d"}  # T3D, Tables 4 and 8
    assert {name.replace("youtube8m", "ucf101") for name in TRANSFER} <= FINE_TUNE.keys()  # what a student is for


def transfers() -> list[Config]:
    return [recipe() for name, recipe in FINE_TUNE.items() if "folder" not in name]


def test_a_data_set_without_validation_videos_chooses_no_checkpoint_by_its_test():
    assert {(c.training.val_split, c.evaluation.split, c.training.keep) for c in transfers()} == {
        ("test", "test", "last")
    }


@pytest.mark.parametrize("name", [*PRETRAIN, *FINE_TUNE])
def test_every_recipe_shows_its_network_what_the_paper_did(name):
    config = ALL[name]()
    info = {info.name: info for info in list_models()}[config.model.name]
    if name == "demo" or "folder" in name or name.startswith("resnext3d101_64f"):  # of no paper, or another size
        return
    if "single_stream" in config.model.name:  # one frame or one stack of flow, or five of them
        frames = {("rgb",): 1, ("flow",): 10}[config.model.streams] * (5 if "fused" in config.model.name else 1)
        assert (config.clips.frames, config.clips.rgb_every, config.clips.crop) == (frames, 1, 224)
        return
    if "_t3d_" in name or "_ttl_" in name:  # a network of another paper under T3D's recipe
        assert (config.clips.frames, config.clips.crop, config.evaluation.protocol) == (32, 224, "t3d")
        return
    for streams in network_inputs(config.model).values():
        for stream in streams:
            _, frames, crop = info.clips.get(stream) or info.clips["x"]
            seen = config.clips.frames
            if len(streams) > 1 and stream == "rgb":
                seen //= config.clips.rgb_every
            assert (seen, config.clips.crop) == (frames, crop)


@pytest.mark.parametrize("name", [*PRETRAIN, *FINE_TUNE])
def test_every_windows_validation_is_of_the_length_that_was_trained(name):
    config = ALL[name]()
    assert config.evaluation.val_frames in (config.clips.frames, None)


def test_3d_resnets_are_trained_as_their_code_says():
    config = PRETRAIN["resnext3d101_kinetics"]()
    optimiser = config.optimiser
    assert (optimiser.lr, optimiser.momentum, optimiser.dampening, optimiser.weight_decay) == (0.1, 0.9, 0.9, 1e-3)
    assert (config.schedule.name, config.schedule.patience, config.training.epochs) == ("plateau", 10, 200)
    assert (config.clips.augment, config.model.levels) == ("multi_scale_corner_crop", "activitynet")
    wide = PRETRAIN["resnext3d101_64f_kinetics"]()
    for each in (config, wide):
        assert each.clips_of_a_step == 128
    scratch = FINE_TUNE["resnet3d18_hmdb51_scratch"]()
    assert (scratch.optimiser, scratch.training.epochs) == (PRETRAIN["resnet3d18_kinetics"]().optimiser, 200)
    tuned = FINE_TUNE["resnext3d101_ucf101"]()
    assert (tuned.optimiser.lr, tuned.optimiser.weight_decay, tuned.model.fine_tune) == (0.001, 1e-5, "last_block")


def test_t3d_is_trained_as_the_paper_says():
    config = PRETRAIN["t3d121_kinetics"]()
    optimiser = config.optimiser
    assert (optimiser.lr, optimiser.momentum, optimiser.nesterov, optimiser.weight_decay) == (0.1, 0.9, True, 1e-4)
    assert (config.clips.frames, config.clips.stride, config.clips.augment) == (32, 2, "corner_crop")
    assert config.clips_of_a_step == 64


@pytest.mark.parametrize("name", [name for name in {**PRETRAIN, **FINE_TUNE} if "folder" in name])
def test_recipes_for_a_folder_suit_few_clips_and_two_cores(name):
    config = fitted(ALL[name](), Machines(cpus=(2.0,)))
    assert (config.catalog.dataset, config.evaluation.split, config.training.val_split) == ("folder", "auto", "val")
    assert config.clips_of_a_step <= 16  # so that tens of clips make more than one step an epoch
    assert config.optimiser.lr <= 3e-4
    assert config.training.epochs <= 30
    assert config.ingest.flow.bound == 20 * config.ingest.short_side / 256
    hours = plan_training(config, {"train": 180, "val": 60, "test": 60}, 2, gpu=False).core_hours
    assert hours <= 2, f"{name}: {hours} core-hours for 300 clips"


def test_non_local_steps_are_those_of_its_paper():
    config = PRETRAIN["i3d_resnet50_non_local"]()
    epoch = 240_000 // config.clips_of_a_step
    assert config.training.epochs * epoch >= config.training.steps == 400_000
    assert (config.schedule.milestones, config.optimiser.lr, config.clips_of_a_step) == ((150_000, 300_000), 0.01, 64)


def test_published_steps_are_those_of_kinetics_i3d():
    rgb, flow = PRETRAIN["i3d_rgb_kinetics"](), PRETRAIN["i3d_flow_kinetics"]()
    assert (rgb.training.steps, flow.training.steps) == (115_000, 155_000)
    for config in (rgb, flow):
        epoch = 240_000 // config.clips_of_a_step
        assert config.training.epochs * epoch >= config.training.steps  # so that the steps end it
