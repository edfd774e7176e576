"""The configuration tree: checked when made, frozen, saved and read back, resolved to absolute paths."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from pipeline.command_line import fields, override
from pipeline.config import (
    VERSION,
    CatalogConfig,
    ClipsConfig,
    Config,
    ConfigError,
    FlowConfig,
    IngestConfig,
    ModelConfig,
    SweepConfig,
    TrackingConfig,
    TrainingConfig,
    absolute,
    from_dict,
    load,
    nearest,
    save,
    to_dict,
)


def test_every_field_has_its_documentation():
    undocumented = [name for kind in (Config, SweepConfig) for name, _, text in fields(kind()) if not text.strip()]
    assert undocumented == []


def test_every_section_is_frozen():
    config = Config()
    sections = [config, *(getattr(config, field.name) for field in dataclasses.fields(config))]
    for section in [*sections, config.ingest.flow, config.catalog.motion_shapes, SweepConfig()]:
        if dataclasses.is_dataclass(section):
            name = dataclasses.fields(section)[0].name
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(section, name, getattr(section, name))


def test_two_configs_do_not_share_their_dicts():
    one, other = Config(), Config()
    one.model.options["x"] = 1
    assert other.model.options == {}


def test_defaults_are_those_of_the_i3d_paper():
    config = Config()
    assert (config.clips.frames, config.clips.crop, config.ingest.short_side, config.ingest.fps) == (64, 224, 256, 25)
    assert (config.optimiser.lr, config.optimiser.momentum, config.optimiser.weight_decay) == (0.1, 0.9, 1e-7)
    assert config.ingest.flow.bound == 20


def test_fields_are_given_by_name_only():
    with pytest.raises(ValueError, match="positional argument"):
        ClipsConfig(16)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ClipsConfig, {"frames": 0}),
        (ClipsConfig, {"stride": -1}),
        (ClipsConfig, {"frames": 1.5}),
        (ModelConfig, {"streams": ("depth",)}),
        (TrainingConfig, {"precision": "fp16"}),
        (FlowConfig, {"lambda_": 0}),
        (FlowConfig, {"medianFiltering": 4}),
        (CatalogConfig, {"dataset": "kinetics"}),
        (CatalogConfig, {"annotations": {"train": 3}}),
    ],
)
def test_a_value_that_a_field_cannot_take_is_refused_when_it_is_made(kind, values):
    (name,) = values
    with pytest.raises(ValueError, match=name):
        kind(**values)


def test_a_crop_larger_than_the_stored_short_side_is_refused():
    with pytest.raises(ValueError, match=r"clips\.crop: 300 pixels do not fit into the shorter side of 256"):
        Config(clips=ClipsConfig(crop=300))
    assert Config(clips=ClipsConfig(crop=256)).clips.crop == 256


def test_a_crop_is_compared_with_the_side_after_resizing():
    with pytest.raises(ValueError, match=r"clips\.crop: 224 pixels do not fit into the shorter side of 128"):
        Config(clips=ClipsConfig(crop=224, short_side=128))
    assert Config(clips=ClipsConfig(crop=300, short_side=320)).clips.crop == 300


def test_a_stream_that_is_not_stored_cannot_be_trained():
    with pytest.raises(ValueError, match=r"model\.streams: flow is not among ingest\.streams \(rgb\)"):
        Config(ingest=IngestConfig(streams=("rgb",)))
    assert Config(ingest=IngestConfig(streams=("rgb",)), model=ModelConfig(streams=("rgb",))).model.streams == ("rgb",)


def test_no_stream_at_all_is_refused():
    with pytest.raises(ValueError, match=r"model\.streams: empty; name rgb, flow or both"):
        Config(model=ModelConfig(streams=()))


@pytest.mark.parametrize("step", [1.0, 1.5])
def test_a_pyramid_whose_scales_do_not_shrink_is_refused(step):
    with pytest.raises(ValueError, match=rf"ingest\.flow\.scaleStep: {step} must be below 1"):
        Config(ingest=IngestConfig(flow=FlowConfig(scaleStep=step)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reduction": 1}, "greater than or equal to 2"),
        (
            {"budget": "gmacs", "scheduler": "asha"},
            "gmacs gives trials different steps, which ASHA cannot compare; --scheduler none",
        ),
        ({"scheduler": "asha"}, "--base.model.streams rgb trains one"),
        (
            {"register": True, "base": override(Config(), {"tracking.registered_model": ""})},
            "base.tracking.registered_model is empty; give the name of the model",
        ),
    ],
)
def test_a_sweep_checks_its_choices(values, message):
    with pytest.raises(ValueError, match=message):
        SweepConfig(**values)


def test_plain_dicts_and_back_are_the_same_tree():
    config = Config(
        catalog=CatalogConfig(annotations={"train": "a.csv"}, splits=("train", "val"), limit=7),
        model=ModelConfig(options={"batch_norm_momentum": 0.1, "widths": [1, 2]}),
        training=TrainingConfig(clip_gradient=5.0),
    )
    plain = to_dict(config)
    assert plain["catalog"]["splits"] == ["train", "val"]
    assert from_dict(Config, plain) == config


def test_a_saved_tree_reads_back_equal(tmp_path):
    config = override(Config(), {"optimiser.weight_decay": "1e-7", "clips.short_side": "none", "seed": "3"})
    save(config, tmp_path / "config.yaml")
    assert load(Config, tmp_path / "config.yaml") == config
    text = (tmp_path / "config.yaml").read_text()
    assert text.startswith(
        "name: ''\nrecipe: ''\nresume: ''\nretry: []\nstorage: outputs\n"
    )  # in the order of the fields


def test_a_saved_sweep_reads_back_equal(tmp_path):
    sweep = SweepConfig(axes={"clips.frames": "4,8"}, sampler="random")
    save(sweep, tmp_path / "sweep.yaml")
    assert load(SweepConfig, tmp_path / "sweep.yaml") == sweep


def test_a_file_may_name_only_what_differs_from_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("clips:\n  frames: 16\n")
    assert load(Config, tmp_path / "c.yaml") == Config(clips=ClipsConfig(frames=16))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("a: [1", "not YAML"),
        ("- 1\n- 2\n", "expected a mapping of fields, found list"),
        ("", "expected a mapping of fields, found NoneType"),
        ("seeds: 3\n", "seeds: no such field; did you mean seed"),
        ("clips:\n  frame: 3\n", r"clips\.frame: no such field; did you mean frames"),
        ("clips:\n  frames: many\n", r"clips\.frames: 'many'"),
        ("clips: 3\n", "clips: 3"),
        ("catalog:\n  dataset: kinetics40\n", "did you mean kinetics400"),
        ("ingest:\n  flow:\n    nscale: 3\n", r"ingest\.flow\.nscale: no such field; did you mean nscales"),
        ("clips:\n  crop: 300\n", r"^clips\.crop: 300 pixels do not fit"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_field(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load(Config, path)
    assert "\n" not in str(caught.value)


def test_an_old_file_is_one_line_with_all_wrong_fields_the_file_and_the_version_that_wrote_it(tmp_path):
    path = tmp_path / "c.yaml"
    save(Config(), path)
    text = path.read_text()
    assert text.endswith(f"\n# written by video-action-pipeline {VERSION}\n")
    old = text.replace(VERSION, "0.0.7").replace("  frames: 64", "  frame: 64").replace("seed: 0", "seeds: 0")
    path.write_text(old.replace("batch_size: 6", "batch_size: none"))
    with pytest.raises(ConfigError) as raised:
        load(Config, path, "--config")
    said = str(raised.value)
    assert "clips.frame: no such field; did you mean frames?" in said
    assert "seeds: no such field" in said
    assert "training.batch_size: 'none'" in said
    assert said.endswith(f"(in --config {path}, written by version 0.0.7; this is {VERSION})")
    path.write_text("seeds: 3\n")
    with pytest.raises(ConfigError, match=r"seeds: no such field.*c\.yaml, written by an unknown version; this is"):
        load(Config, path)


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load(Config, tmp_path / "c.yaml")


def test_an_error_in_the_base_of_a_sweep_names_its_field_and_nothing_more():
    with pytest.raises(ConfigError, match=r"^base\.clips\.crop: 300 pixels do not fit") as caught:
        override(SweepConfig(), {"base.clips.crop": "300"})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ingest.max_failed", "7"),  # "from 0 to 1"
        ("ingest.max_failed", "-0.1"),
        ("resources.max_failures", "-2"),  # "-1 for any number"
        ("model.dropout", "1.5"),  # a share
        ("optimiser.lr", "inf"),
        ("model.streams", "rgb,rgb"),
        ("schedule.factor", "2"),  # "divided"
    ],
)
def test_a_value_outside_its_documented_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        override(Config(), {name: value})


def test_resolved_paths_are_absolute_and_have_their_defaults(tmp_path):
    config = Config(catalog=CatalogConfig(annotations={"val": "lists/val.csv"}, videos="videos")).resolved(tmp_path)
    assert config.storage == f"{tmp_path}/outputs"
    assert config.ingest.shards == f"{tmp_path}/outputs/shards/kinetics400"
    assert config.catalog.videos == f"{tmp_path}/videos"
    assert config.catalog.annotations == {"val": f"{tmp_path}/lists/val.csv"}
    assert config.tracking.uri == f"sqlite:///{tmp_path}/outputs/mlflow.db"
    assert config.tracking.uri.startswith("sqlite:////")  # four: an absolute path


def test_resolving_uses_the_working_directory_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Config().resolved() == Config().resolved(tmp_path)


def test_resolving_twice_changes_nothing(tmp_path):
    once = Config(catalog=CatalogConfig(dataset="motion_shapes")).resolved(tmp_path)
    assert once.resolved(tmp_path / "elsewhere") == once


def test_resolving_leaves_uris_and_what_was_given(tmp_path):
    config = Config(
        storage="s3://bucket/runs",
        catalog=CatalogConfig(annotations={"val": "https://example.org/val.csv"}, videos="s3://bucket/videos"),
        ingest=IngestConfig(shards="gs://bucket/shards"),
        tracking=TrackingConfig(uri="http://mlflow:5000"),
    )
    assert config.resolved(tmp_path) == config


def test_resolving_puts_the_default_shards_into_a_remote_storage(tmp_path):
    config = Config(storage="s3://bucket/runs", tracking=TrackingConfig(uri="http://mlflow:5000")).resolved(tmp_path)
    assert config.ingest.shards == "s3://bucket/runs/shards/kinetics400"


def test_a_sqlite_file_cannot_lie_in_a_remote_storage(tmp_path):
    with pytest.raises(ValueError, match=r"tracking\.uri"):
        Config(storage="s3://bucket/runs").resolved(tmp_path)


def test_motion_shapes_are_rendered_into_the_storage(tmp_path):
    config = Config(catalog=CatalogConfig(dataset="motion_shapes")).resolved(tmp_path)
    assert config.catalog.videos == f"{tmp_path}/outputs/videos/motion_shapes"
    assert Config().resolved(tmp_path).catalog.videos == ""


def test_a_sweep_resolves_its_base(tmp_path):
    assert SweepConfig().resolved(tmp_path) == SweepConfig(base=Config().resolved(tmp_path))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("a/../b", "/base/b"),
        ("/x/y", "/x/y"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("~/clips", str(Path.home().resolve() / "clips")),
    ],
)
def test_local_paths_are_made_absolute(path, expected):
    assert absolute(path, Path("/base")) == expected


def test_a_hint_names_the_nearest_or_all():
    assert nearest("crop_size", ["crop", "frames"]) == "did you mean crop?"
    assert nearest("zzz", ["crop", "frames"]) == "one of: crop, frames"
