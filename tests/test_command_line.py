"""The command line: recipe or file, dotted overrides, one line for whoever mistypes."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline.command_line import check_fields, fail, fields, one_line_errors, override, parse, planning, value_of
from pipeline.config import Config, ConfigError, SweepConfig, save
from pipeline.recipes import PRETRAIN, SWEEP
from pipeline.recipes.folder import resnet3d18_folder


def read(*argv: str) -> Config:
    return parse(Config, PRETRAIN, argv, "A job.")


def answer(capsys: pytest.CaptureFixture, *argv: str, kind: type = Config) -> str:
    """What the command line says to wrong arguments, which must be one line on stderr and exit status 2."""
    with pytest.raises(SystemExit) as caught:
        parse(kind, PRETRAIN if kind is Config else SWEEP, argv)
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


def test_without_arguments_the_first_recipe_runs():
    assert read() == replace(next(iter(PRETRAIN.values()))(), recipe=next(iter(PRETRAIN)))


def test_a_recipe_is_chosen_by_name():
    assert read("--recipe", "demo") == replace(PRETRAIN["demo"](), recipe="demo")


def test_the_command_line_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setattr("sys.argv", ["job.py", "--recipe", "demo", "--seed", "7"])
    assert parse(Config, PRETRAIN).seed == 7


@pytest.mark.parametrize("recipe", PRETRAIN)
def test_a_saved_config_runs_again_by_its_file(recipe, tmp_path):
    config = read("--recipe", recipe, "--training.steps", "9", "--catalog.annotations.train", "a.csv")
    save(config, tmp_path / "config.yaml")
    assert read("--config", str(tmp_path / "config.yaml")) == config


def test_overrides_apply_to_a_saved_config(tmp_path):
    save(PRETRAIN["demo"](), tmp_path / "config.yaml")
    assert read("--config", str(tmp_path / "config.yaml"), "--seed=5").seed == 5


@pytest.mark.parametrize(
    ("argument", "text", "expected"),
    [
        ("training.epochs", "5", 5),
        ("optimiser.lr", "1e-3", 0.001),
        ("optimiser.lr", "0.5", 0.5),
        ("optimiser.lr", "2", 2.0),
        ("ingest.flow.warps", "3", 3),
        ("ingest.flow.lambda_", "0.3", 0.3),
        ("clips.flip", "false", False),
        ("clips.flip", "no", False),
        ("clips.flip", "True", True),
        ("model.streams", "flow", ("flow",)),
        ("model.streams", "flow,rgb", ("flow", "rgb")),
        ("model.streams", "[flow, rgb]", ("flow", "rgb")),
        ("catalog.splits", "train,val", ("train", "val")),
        ("catalog.splits", "", ()),
        ("catalog.limit", "12", 12),
        ("catalog.limit", "none", None),
        ("training.clip_gradient", "2.5", 2.5),
        ("training.clip_gradient", "null", None),
        ("evaluation.val_frames", "None", None),
        ("name", "007", "007"),
        ("name", "none", "none"),
        ("storage", "s3://bucket/a=b", "s3://bucket/a=b"),
        ("resources.max_failures", "-1", -1),
        ("training.precision", "bf16", "bf16"),
        ("model.options", "{dropout: 0.1}", {"dropout": 0.1}),
    ],
)
@pytest.mark.parametrize("joined", [False, True], ids=["two words", "one word"])
def test_a_dotted_name_sets_one_field(argument, text, expected, joined):
    config = read("--recipe", "demo", *([f"--{argument}={text}"] if joined else [f"--{argument}", text]))
    changed = {name: value for name, value, _ in fields(config)}
    before = {name: value for name, value, _ in fields(read("--recipe", "demo"))}
    assert changed.pop(argument) == expected
    assert type(before.pop(argument)) in (type(expected), type(None), float, int, tuple)
    assert changed == before


def test_a_choice_of_numbers_is_set_like_any_other():
    assert read("--ingest.flow.medianFiltering", "3").ingest.flow.medianFiltering == 3


def test_a_recipe_that_has_a_limit_can_be_freed_of_it():
    assert read("--recipe", "demo").training.clip_gradient is not None
    assert read("--recipe", "demo", "--training.clip_gradient", "none").training.clip_gradient is None


def test_annotations_are_given_split_by_split():
    config = read("--catalog.annotations.train", "/data/train list.csv", "--catalog.annotations.val=/data/val.csv")
    assert config.catalog.annotations == {"train": "/data/train list.csv", "val": "/data/val.csv"}


@pytest.mark.parametrize(
    ("text", "expected"), [("0.25", 0.25), ("3", 3), ("true", True), ("B", "B"), ("[1, 2]", [1, 2]), ("null", None)]
)
def test_options_of_the_network_are_typed_by_what_is_written(text, expected):
    options = read("--recipe", "demo", "--model.options.shortcut", text).model.options
    assert options == {"batch_norm_momentum": 0.1, "shortcut": expected}
    assert type(options["shortcut"]) is type(expected)


def test_an_option_may_be_a_number_with_an_exponent():
    assert read("--model.options.batch_norm_momentum", "1e-3").model.options["batch_norm_momentum"] == 0.001


@pytest.mark.parametrize("path", ["2020", "@lists/train.csv", "lists: mine/train.csv", "yes"])
def test_a_path_in_a_dict_of_texts_is_taken_as_it_is(path):
    assert read("--catalog.annotations.train", path).catalog.annotations == {"train": path}


def test_the_last_of_two_wins():
    assert read("--seed", "1", "--seed", "2").seed == 2


def test_the_given_config_is_not_changed():
    config = PRETRAIN["demo"]()
    override(config, {"model.options.batch_norm_momentum": "0.5", "seed": "3"})
    assert config == PRETRAIN["demo"]()


def test_fields_are_checked_one_by_one_where_the_config_is_not_known_yet():
    check_fields(Config, {"clips.crop": "300"})  # too large for Config(), and maybe not for another
    with pytest.raises(ConfigError, match=r"clips\.cropp: no such field; did you mean --clips\.crop\?"):
        check_fields(Config, {"clips.cropp": "3"})
    with pytest.raises(ConfigError, match=r"clips\.crop: 'wide': Input should be a valid integer"):
        check_fields(Config, {"clips.crop": "wide"})


def test_an_empty_value_removes_the_entry_of_a_table():
    sweep = parse(SweepConfig, SWEEP, ["--recipe", "demo_sweep", "--axes.clips.stride", "", "--axes.seed", ""])
    assert list(sweep.axes) == ["clips.frames", "clips.crop"]
    weights = override(Config(), {"model.weights.rgb": "a.pt"})
    assert override(weights, {"model.weights.rgb": "", "model.options.none": ""}).model.weights == {}


def test_a_value_is_read_as_the_config_holds_it():
    texts = {
        "clips.frames": "5.0", "clips.short_side": "none", "clips.flip": "True", "optimiser.lr": "1e-1",
        "model.streams": "rgb,flow", "model.weights.rgb": "5.0", "model.options.shortcut": "A",
        "model.options.size": "1e-3", "resources.workers": "auto",
    }  # fmt: skip
    assert [value_of(Config(), name, text) for name, text in texts.items()] == [
        5, None, True, 0.1, ("rgb", "flow"), "5.0", "A", 0.001, "auto",
    ]  # fmt: skip
    for name in ("clips.frame", "clip.frames", "clips", "seed.x"):
        with pytest.raises(ConfigError, match=f"^--{name}: no such field"):
            value_of(Config(), name, "1")


def test_a_sweep_overrides_its_axes_and_its_base():
    words = ["--recipe", "demo_sweep", "--axes.clips.frames", "4,6,8", "--base.training.epochs", "2"]
    sweep = parse(SweepConfig, SWEEP, words)
    assert (sweep.axes["clips.frames"], sweep.axes["clips.stride"]) == ("4,6,8", "1,2")
    assert sweep.base.training.epochs == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--recipe", "dmo"], "--recipe dmo: no such recipe; did you mean demo?"),
        (["--recipe", "zzz"], "--recipe zzz: no such recipe; one of: i3d_kinetics, demo"),
        (["--training.epoch", "3"], "--training.epoch: no such field; did you mean --training.epochs?"),
        (["--trainng.epochs", "3"], "--trainng.epochs: no such field; did you mean --training.epochs?"),
        (["--epochs", "3"], "--epochs: no such field; did you mean --training.epochs?"),
        (["--ingest.flow.nscale", "3"], "--ingest.flow.nscale: no such field; did you mean --ingest.flow.nscales?"),
        (["--clips.frames.x", "3"], "--clips.frames.x: no such field; did you mean --clips.frames?"),
        (["--batchsize", "3"], "--batchsize: no such field; did you mean --training.batch_size?"),
        (["--zzz", "3"], "--zzz: no such field; --help lists them all"),
        (["--clips", "3"], "--clips: no such field; "),
        (["epochs", "3"], "epochs: expected --FIELD VALUE; --help lists the fields"),
        (["-r", "demo"], "-r: expected --FIELD VALUE"),
        (["--seed"], "--seed: needs a value"),
        (["--recipe", "demo", "--config", "c.yaml"], "--recipe and --config: give one of them"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml: No such file or directory"),
        (["--training.epochs", "many"], "training.epochs: 'many': Input should be a valid integer"),
        (["--training.epochs", "0"], "training.epochs: '0': Input should be greater than 0"),
        (["--training.epochs", "1.5"], "training.epochs: '1.5': Input should be a valid integer"),
        (["--training.epochs", "none"], "training.epochs: 'none': "),
        (["--optimiser.lr", "nan"], "optimiser.lr: 'nan': Input should be "),
        (["--clips.flip", "perhaps"], "clips.flip: 'perhaps': Input should be a valid boolean"),
        (["--training.precision", "bf61"], "'bf61': Input should be 'auto', 'fp32', 'tf32' or 'bf16'"),
        (["--training.precision", "bf61"], "(did you mean bf16?)"),
        (["--model.streams", "rgb,flwo"], "(did you mean flow?)"),
        (["--model.streams", ""], "model.streams: empty; name rgb, flow or both"),
        (["--catalog.dataset", "kinetics40"], "(did you mean kinetics400?)"),
        (["--clips.crop", "257"], "clips.crop: 257 pixels do not fit into the shorter side of 256"),
        (["--ingest.streams", "rgb"], "model.streams: flow is not among ingest.streams (rgb)"),
        (["--ingest.flow.scaleStep", "1"], "ingest.flow.scaleStep: 1.0 must be below 1"),
        (["--model.options", "3"], "model.options: 3: Input should be a valid dictionary"),
        (["--clips.frames", "a\nb"], r"clips.frames: 'a\nb'"),
    ],
)
def test_a_wrong_argument_is_answered_in_one_line(capsys, argv, message):
    assert message in answer(capsys, *argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--reduction", "1"], "reduction: '1': Input should be greater than or equal to 2"),
        (["--sampler", "gird"], "sampler: 'gird': Input should be"),
        (["--axis.clips.frames", "8"], "--axis.clips.frames: no such field"),
        (["--training.epochs", "3"], "--training.epochs: no such field; did you mean --base.training.epochs?"),
        (["--recipe", "demo_swep"], "--recipe demo_swep: no such recipe; did you mean demo_sweep?"),
    ],
)
def test_a_wrong_argument_of_a_sweep_is_answered_in_one_line(capsys, argv, message):
    assert message in answer(capsys, *argv, kind=SweepConfig)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("clip.frames", "clips.frames"),
        ("evaluate.batch_size", "evaluation.batch_size"),
        ("clip.short_side", "clips.short_side"),
    ],
)
def test_of_several_fields_with_the_same_last_name_the_nearest_is_named(capsys, wrong, right):
    assert f"did you mean --{right}?" in answer(capsys, f"--{wrong}", "3")


@pytest.mark.parametrize(
    "argv",
    [
        ["--model.options", "{a: [}"],
        ["--model.options.widths", "[1, 2"],
        ["--resolved.x", "1"],
        ["--recipe", "a\nb"],
    ],
)
def test_a_strange_argument_is_answered_in_one_line_too(capsys, argv):
    assert argv[0] in answer(capsys, *argv)


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_lists_every_field_with_its_default_and_documentation(capsys, word):
    with pytest.raises(SystemExit) as caught:
        read(word)
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("A job.\n")
    listed = dict(re.findall(r"^  --([\w.]+) \(default: (.*)\)$", out, re.MULTILINE))
    config = PRETRAIN["i3d_kinetics"]()
    documented = [(name, text) for name, _, text in fields(config) if name != "recipe"]  # said in words of its own
    assert list(listed) == [name for name, _ in documented]
    assert listed["training.epochs"] == str(config.training.epochs)
    assert listed["optimiser.weight_decay"] == "1e-07"
    assert listed["model.streams"] == "rgb,flow"
    assert listed["storage"] == '"outputs"'
    assert listed["name"] == '""'
    assert listed["model.options"] == "{}"
    assert listed["training.steps"] == "None"
    flat = " ".join(out.split())
    for name, text in documented:
        assert " ".join(text.split()) in flat, name
    assert "--recipe NAME" in out
    assert f"{', '.join(PRETRAIN)} (default: i3d_kinetics)" in flat
    assert "--config FILE" in out


def test_help_may_be_read_in_part():
    ask = f"{sys.executable} -c 'from pipeline.commands.pretrain import main; main([\"--help\"])' | head -n 1"
    asked = subprocess.run(["bash", "-o", "pipefail", "-c", ask], capture_output=True, text=True)
    assert (asked.returncode, asked.stderr) == (0, "")


def test_help_shows_the_defaults_of_the_chosen_recipe(capsys):
    with pytest.raises(SystemExit):
        read("--recipe", "demo", "--help")
    assert '--catalog.dataset (default: "motion_shapes")' in capsys.readouterr().out


def test_what_help_shows_as_a_default_can_be_typed_as_a_value():
    config = PRETRAIN["demo"]()
    skip = {"ingest.flow.medianFiltering"}  # see test_a_choice_of_numbers_is_set_like_any_other
    typed = {
        name: ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value, _ in fields(config)
        if name not in skip
    }
    assert override(config, typed) == config


def test_the_command_line_stays_small():
    """A new field is a decision: where it pushes the count over this number, another should go."""
    assert sum(1 for _ in fields(Config())) <= 134


def test_fail_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        fail("clip.mp4: no such file")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: clip.mp4: no such file\n"


def test_our_own_errors_are_one_line_and_others_keep_their_traceback(capsys):
    with pytest.raises(SystemExit) as caught, one_line_errors():
        raise ConfigError("clips.crop: too large")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: clips.crop: too large\n"
    with pytest.raises(ZeroDivisionError), one_line_errors():
        _ = 1 / 0


def test_a_table_of_the_users_own_keys_is_found_by_its_name(capsys):
    assert "did you mean --catalog.annotations.val?" in answer(capsys, "--catalog.annotation.val", "a.csv")
    assert "did you mean --model.weights.rgb?" in answer(capsys, "--model.weight.rgb", "a.pt")


def test_an_ingest_does_not_ask_what_only_a_training_would_need():
    from pipeline.commands.ingest import stored_alone

    words = ["--ingest.streams", "rgb", "--ingest.short_side", "64"]
    config = parse(Config, PRETRAIN, words, "", stored_alone)
    assert (config.ingest.streams, config.ingest.short_side) == (("rgb",), 64)
    with pytest.raises(SystemExit):
        parse(Config, PRETRAIN, words)
    assert planning([*words, "--plan"]) == (words, True)


def test_a_stream_that_is_to_be_trained_is_stored():
    from pipeline.commands.training import trained_stored

    config = parse(Config, {"folder": resnet3d18_folder}, ["--model.streams", "flow"], "", trained_stored)
    assert (config.model.streams, config.ingest.streams) == (("flow",), ("rgb", "flow"))
    with pytest.raises(SystemExit):
        parse(Config, PRETRAIN, ["--ingest.streams", "rgb", "--model.streams", "flow"], "", trained_stored)
