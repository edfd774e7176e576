"""Every recipe is built, is valid and comes back from its file; what each says of its paper is so."""

import inspect

import pytest

from pipeline.config import Config, SweepConfig, load, save
from pipeline.models import list_models
from pipeline.recipes import PRETRAIN, SWEEP
from pipeline.recipes.demo import demo
from pipeline.recipes.quo_vadis import i3d_kinetics

ALL = {**PRETRAIN, **SWEEP}


def base(config: Config | SweepConfig) -> Config:
    return config.base if isinstance(config, SweepConfig) else config


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_is_a_whole_config_of_its_kind(name):
    kind = Config if name in PRETRAIN else SweepConfig
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
    assert not PRETRAIN.keys() & SWEEP.keys()


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
    assert config.training.epochs == round(115_000 * config.resources.workers * 6 / 240_000)


def test_the_demo_never_mirrors_since_its_classes_are_directions():
    assert demo().clips.flip is False
    assert base(SWEEP["demo_sweep"]()).clips.flip is False


def test_the_demo_scales_the_bound_of_flow_with_its_clips():
    config = demo()
    assert config.ingest.flow.bound == 20 * config.ingest.short_side / 256
    assert config.ingest.short_side == config.catalog.motion_shapes.size


def test_the_demo_fits_the_machine_that_it_is_for():
    resources = demo().resources
    assert resources.workers * resources.worker_cpus + resources.loader_cpus <= 2


def test_the_demo_bears_no_failed_clip():
    assert demo().ingest.max_failed == 0


@pytest.mark.parametrize("name", SWEEP)
def test_every_window_of_a_sweep_can_be_cut_from_its_clips(name):
    sweep = SWEEP[name]()
    seconds = 10 if sweep.base.catalog.dataset.startswith("kinetics") else None
    length = seconds * sweep.base.ingest.fps if seconds else sweep.base.catalog.motion_shapes.frames - 1
    assert (max(sweep.frames) - 1) * max(sweep.strides) + 1 <= length
    assert max(sweep.crops) <= (sweep.base.clips.short_side or sweep.base.ingest.short_side)
