"""Each table of the papers is trainings that can be run, and its report has the paper beside what was measured."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline.command_line import override
from pipeline.config import ConfigError, from_dict
from pipeline.experiments.looping import looped
from pipeline.experiments.papers import TABLES, table_of
from pipeline.experiments.papers_cells import RECIPES, Cell
from pipeline.experiments.papers_report import csv_rows, markdown, measured, notes, table_rows
from pipeline.experiments.reproduction import check_trials, name_of, run_study, trials_of
from pipeline.experiments.settings import DATA, StudyConfig
from pipeline.experiments.trial import Outcome
from pipeline.networks import network_inputs
from pipeline.recipes import FINE_TUNE
from pipeline.shards import read_manifest
from pipeline.shards.manifest import MANIFEST
from pipeline.shards.schema import FORMAT_VERSION
from pipeline.table import csv_text
from pipeline.training.input_check import check_input
from pipeline.workers import Machines

STUDY = StudyConfig(storage="/nowhere", seeds=(0, 1))
CHECKED = set[object]()  # networks and windows that tables share
SLOW = {name: [pytest.mark.slow] for name in ("resnets_table2", "resnets_fine_tuned")}  # for their large networks
Make = Callable[..., str]


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, [])) for name in TABLES])
def test_every_cell_is_a_training_whose_network_takes_its_clips(name):
    table = table_of(replace(STUDY, experiment=name))
    for trial in trials_of(table.trainings, (0,)):
        config = trial.training.config
        assert set(config.model.streams) <= set(config.ingest.streams)
        facts = (config.model.name, str(config.model.options), config.clips, config.model.streams)
        if trial.training.kind == "train" and facts not in CHECKED:
            CHECKED.add(facts)
            for network, streams in network_inputs(config.model).items():
                check_input(config, network, streams)
    for _, _, cell in table.cells:
        assert cell.every
        for one in cell.every:
            own = [*network_inputs(one.config.model)]
            assert cell.network in own or (cell.network == "two_stream" and own == ["rgb", "flow"])


@pytest.mark.parametrize("name", TABLES)
def test_one_name_is_one_training_and_no_window_is_longer_than_the_rendered_clips(name):
    digests, keys = {data: f"digest of {data}" for data in DATA}, dict[str, str]()
    for trial in trials_of(table_of(replace(STUDY, experiment=name)).trainings, (0,)):
        key = trial.key(digests)
        assert keys.setdefault(str(trial), key) == key
        manifest = {"splits": {"train": {"present": 1, "frames": DATA[trial.training.data][0].frames}}}
        assert looped(trial.training.config.clips, "train", manifest) == ""
    assert len(set(keys.values())) == len(keys)


def test_tables_share_the_trainings_that_are_the_same():
    digests = dict.fromkeys(DATA, "digest")
    keys = {
        name: {trial.key(digests) for trial in trials_of(table_of(replace(STUDY, experiment=name)).trainings, (0,))}
        for name in ("t3d_table2", "t3d_table3", "t3d_table4", "t3d_table6")
    }
    assert len(keys["t3d_table2"] & keys["t3d_table4"]) == 1  # T3D-121
    assert len(keys["t3d_table3"] & keys["t3d_table6"]) == 2  # 16 frames, every one


@pytest.fixture
def made(tmp_path) -> Make:
    """Makes the manifest of a shard set, which says that its clips are 256 pixels high; nothing is trained on it."""

    def make(name: str, dataset: str = "ucf101", labels: str = "ab", splits: str = "train,test", **settings) -> str:
        counts = {"expected": 9537, "present": 9537, "frames": 9537 * 180, "failed": {}, "labels": {}}
        manifest = {
            "format_version": FORMAT_VERSION, "digest": sha256(name.encode()).hexdigest()[:16], "dataset": dataset,
            "labels": [*labels],
            "splits": dict.fromkeys(splits.split(","), counts), "bytes": {"video": 1, "flow": 1},
            "duplicates": {}, "notes": [], "rate": {},
            "plan": {"settings": {"short_side": 256, "streams": ["rgb", "flow"], **settings}},
        }  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST).write_text(json.dumps(manifest))
        return str(tmp_path / name)

    return make


@pytest.fixture
def kinetics(made) -> str:
    return made("kinetics", "kinetics400", "xyz", "train,val")


FROM = {  # of some rows on UCF-101: the recipes of the first column and of the last, and what the last starts from
    ("quo_vadis_table2", "Two-Stream"): (
        "two_stream_rgb_imagenet_ucf101_original", "two_stream_imagenet_ucf101_original",
    ),
    ("quo_vadis_table2", "Two-Stream I3D"): ("i3d_imagenet_ucf101_original", "i3d_imagenet_ucf101_original"),
    ("quo_vadis_table4", "Two-Stream I3D"): ("i3d_ucf101_original", "i3d_ucf101_full", "i3d_kinetics"),
    ("t3d_table4", "T3D"): ("t3d121_kinetics", "t3d121_kinetics"),
    ("t3d_table8", "DenseNet3D-121"): (
        "densenet3d121_kinetics", "densenet3d121_ucf101", "densenet3d121_half_kinetics", "densenet3d121_youtube8m",
    ),
    ("t3d_table10", "T3D+TSN"): ("t3d121_tsn_ucf101", "t3d121_tsn_ucf101", "t3d121_kinetics"),
    ("resnets_scratch", "ucf101"): ("resnet3d18_ucf101_scratch", "resnet3d18_ucf101_scratch"),
    ("resnets_fine_tuned", "ResNet-152"): ("resnet3d152_ucf101", "resnet3d152_ucf101", "resnet3d152_kinetics"),
    ("resnets_fine_tuned", "ResNeXt-101 on 64 frames"): (
        "resnext3d101_64f_ucf101", "resnext3d101_64f_ucf101", "resnext3d101_64f_kinetics",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "row"), FROM)
def test_on_given_sets_a_table_trains_the_recipes_of_the_paper(made, kinetics, name, row):
    table = table_of(replace(STUDY, experiment=name, shards=(made("ucf"),), source=kinetics))
    cells = list(table.rows[row].values())
    last = (one := cells[-1].every[0])
    chain = [last]
    while one.starts:
        one = one.starts["rgb"]
        chain.append(one)
    names = [training.name.split()[0] for training in (cells[0].every[0], *chain)]
    assert tuple(names) == FROM[name, row]
    for training in chain:
        recipe, config = RECIPES[training.name.split()[0]](), training.config
        assert replace(config.model, weights={}) == recipe.model
        assert (config.clips, config.optimiser, config.schedule) == (recipe.clips, recipe.optimiser, recipe.schedule)
        assert (config.training.epochs, config.training.steps) == (recipe.training.epochs, recipe.training.steps)
        assert (config.training.keep == "last") == (training.data != kinetics)


@pytest.mark.parametrize("name", TABLES)
def test_data_sets_stand_side_by_side_and_splits_are_averaged(made, kinetics, name):
    split = [made(f"ucf{number}") for number in (1, 2)]
    hmdb = made("hmdb", "hmdb51", "cd", "train1_test2,test1_train2")  # one set with both of its splits
    table = table_of(replace(STUDY, experiment=name, shards=(*split, hmdb), source=kinetics, epochs=3))
    trainings = [trial.training for trial in trials_of(table.trainings, (0,))]
    assert {one.config.training.epochs for one in trainings} == {3}
    assert len({one.name for one in trainings}) == len(trainings)
    assert {one.config.clips.crop for one in trainings} <= {112, 224}
    sides = {(one.data, one.config.training.train_split, one.config.evaluation.split) for one in trainings}
    assert sides - {(kinetics, "train", "val")} == {
        *((one, "train", "test") for one in split), (hmdb, "train1", "test1"), (hmdb, "train2", "test2"),
    }  # fmt: skip
    for row, _, cell in table.cells:
        wanted = {row: 2} if name == "resnets_scratch" else {"ucf101": 2, "hmdb51": 2}
        assert {data: len(own) for data, own in cell.trainings.items()} == wanted
    recipes = {one.name.split()[0] for one in trainings if one.data == hmdb}
    assert not any("ucf101" in recipe for recipe in recipes & FINE_TUNE.keys())


def test_a_recipe_that_counts_steps_makes_them_on_a_small_set_too(made, kinetics):
    small = made("small", "folder", splits="train,test")
    manifest = json.loads(Path(small, MANIFEST).read_text())
    manifest["splits"]["train"]["present"] = 300
    Path(small, MANIFEST).write_text(json.dumps(manifest))
    table = table_of(replace(STUDY, experiment="quo_vadis_table4", shards=(small,), source=kinetics))
    (one,) = table.rows["Two-Stream I3D"]["Full-FT"].every
    assert one.name == "i3d_ucf101_full on small from i3d_kinetics on kinetics"
    assert (one.config.training.steps, one.config.training.epochs) == (5_000, -(-5_000 // (300 // 96)))


def test_without_flow_a_table_has_the_cells_that_need_none(made):
    rgb = made("rgb", streams=["rgb"])
    table = table_of(replace(STUDY, experiment="quo_vadis_table2", shards=(rgb,)))
    there = {(row, column) for row, column, cell in table.cells if cell.every}
    assert there == {(row, "RGB") for row in table.rows}
    assert {one.config.model.streams for one in table.trainings} == {("rgb",)}
    assert any(
        "ucf101 does not store a stream that these cells need: Two-Stream, Flow" in one for one in notes(table, {})
    )


def test_an_own_data_set_takes_the_recipes_of_the_paper(made):
    shards = [made(name, "folder", labels, "train,val,test") for name, labels in (("a", "ab"), ("b", "cd"))]
    table = table_of(replace(STUDY, experiment="resnets_scratch", shards=tuple(shards)))
    assert list(table.rows) == ["folder a", "folder b"]
    assert {one.name for one in table.trainings} == {"resnet3d18_kinetics on a", "resnet3d18_kinetics on b"}
    assert {one.config.training.val_split for one in table.trainings} == {"val"}


def test_rows_can_be_chosen_as_they_are_named():
    for name in TABLES:
        rows = list(table_of(replace(STUDY, experiment=name)).rows)
        assert override(STUDY, {"rows": ",".join(rows)}).rows == tuple(rows)
    table = table_of(replace(STUDY, experiment="t3d_table2", rows=("T3D-169",)))
    assert [one.name for one in table.trainings] == ["t3d169_kinetics on long_patterns"]
    assert list(table.rows) == ["T3D-121", "T3D-169"]


def test_what_a_table_lacks_is_said_in_one_line(made, kinetics):
    low, train = made("low", short_side=128), made("train", splits="train")
    flow = made("flow", streams=["flow"])
    folds = made("folds", splits="train0_test1,test0_train1")
    wrong = {
        r"--shards .*/train: a table needs splits train and test, .* it has train$": {"shards": (train,)},
        r"no such experiment; did you mean t3d_table4\?": {"experiment": "t3d_tabel4"},
        r"--source DIR names the shard set to pretrain on": {"experiment": "t3d_table10", "shards": (kinetics,)},
        r"--source .*/folds: it has several": {"experiment": "t3d_table10", "shards": (kinetics,), "source": folds},
        r"--shards .*/low: resnet3d50_t3d_kinetics: .*crop: 224 pixels do not fit .*: give a set that fits$": {
            "shards": (low,)
        },
        r"--shards: t3d_table4 has no network for the streams": {"shards": (flow,)},
        r"t3d_table4 has none": {"claims": ("start",)},
        r"--rows T3d: t3d_table4 has no such row; did you mean T3D\?": {"rows": ("T3d",)},
        r"--shards: the claims are tested on rendered clips": {"experiment": "claims", "shards": (kinetics,)},
    }
    for message, options in wrong.items():
        with pytest.raises(ConfigError, match=message) as raised:
            table_of(replace(STUDY, **{"experiment": "t3d_table4", **options}))
        assert "\n" not in str(raised.value)


def test_options_that_do_not_go_together_are_said_in_one_line():
    wrong = {
        "scale: tiny is for rendered clips": {"shards": ["a"], "scale": "tiny"},
        "source: it goes with shards": {"source": "a"},
        "shards: a,a; give each set once": {"shards": ["a", "a"]},
    }
    for message, options in wrong.items():
        with pytest.raises(ConfigError, match=message):
            from_dict(StudyConfig, options)


def test_a_training_that_could_not_succeed_is_refused_before_any_starts(made, tmp_path):
    study = replace(STUDY, storage=str(tmp_path), experiment="resnets_scratch", shards=(made("ucf"),))
    (one,) = table_of(study).trainings
    check_trials([one.trial(0)], Machines(cpus=(1.0,)), 2)
    wrong = {
        "evaluation.split: no split 'val'": replace(one.config, evaluation=replace(one.config.evaluation, split="val")),
        "clips.crop 8: too small": replace(one.config, clips=replace(one.config.clips, crop=8)),
    }
    for message, config in wrong.items():
        trials = [one.trial(0), replace(one, name="other", config=config).trial(0)]
        with pytest.raises(ConfigError, match=rf"^--shards .*/ucf: other: {message}.*; nothing was started$"):
            check_trials(trials, Machines(cpus=(1.0,)), 2)


def test_reports_on_other_data_have_other_names(made, kinetics):
    paths = made("ucf"), made("hmdb", "hmdb51", "cd")
    names = []
    for path in paths:
        manifests = {each: read_manifest(each) for each in (path, kinetics)}
        names.append(name_of(replace(STUDY, experiment="t3d_table4", shards=(path,)), manifests))
    assert [name.rpartition("-")[0] for name in names] == ["t3d_table4-ucf101", "t3d_table4-hmdb51"]
    assert len({name.rpartition("-")[2] for name in names}) == 2
    assert name_of(STUDY, {}) != name_of(replace(STUDY, scale="tiny"), {})


def test_tracking_is_made_absolute_and_needed_beside_an_object_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert replace(STUDY, tracking="sqlite:///x.db").resolved().tracking == f"sqlite:///{tmp_path}/x.db"
    assert STUDY.resolved().tracking == ""
    with pytest.raises(ConfigError, match="tracking: empty, and SQLite cannot lie in s3://bucket"):
        replace(STUDY, storage="s3://bucket/study").resolved()


def test_a_cell_has_the_paper_beside_the_mean_over_seeds_and_splits(made):
    ucf = made("ucf")
    study = replace(STUDY, experiment="t3d_table4", shards=(ucf, made("hmdb", "hmdb51", "cd")))
    table = table_of(study)
    row = {"train/clips": 8.0, "train/top1": 0.9, "val/top1": 0.5, "perf/clips_per_second": 4.0}
    cost = {"gmacs": 2.0, "parameters": 3e6, "core_hours": 0.5}
    outcomes = {
        trial.id: Outcome("n", {"rgb": 0.25 * (1 + trial.seed)}, 16, "d", {"rgb": [row]}, 8, {}, 60.0, {}, cost=cost)
        for trial in trials_of(table.trainings, STUDY.seeds)
        if trial.training.data == ucf and not trial.training.name.startswith("t3d121")
    }
    lost = next(one for one in outcomes if one[0].startswith("inception3d") and one[1] == 1)
    del outcomes[lost]
    rows = table_rows(table, outcomes, STUDY.seeds)
    assert rows[0] == ["", "top-1: paper", "top-1: measured"]
    assert rows[1] == ["ResNet3D-50", "59.2", "37.5 ± 17.7 / -"]
    assert rows[2] == ["Inception3D", "69.5", "25.0 (1 of 2) / -"]
    assert rows[4] == ["T3D", "71.4", "- / -"]  # whose trials failed
    manifests = {path: read_manifest(path) for path in study.shards}
    text = markdown(study, table, outcomes, manifests, {"t3d121 seed 0": "lost"})
    assert "Paper: UCF-101 split 1. Measured: ucf101 / hmdb51, seeds 0, 1" in text
    assert "- **Failed**: t3d121 seed 0: lost" in text
    assert "the learning rate falls when the loss on the test split stops falling" in text
    assert "| 16 | 2 | 3 | 0.5 | 60.0 |" in text  # clips, GMACs, M params, core-hours, seconds
    values = list(csv.DictReader(io.StringIO(csv_text(csv_rows(table, outcomes, STUDY.seeds)))))
    assert [one["data"] for one in values[:2]] == ["ucf101", "hmdb51"]
    assert {name: values[0][name] for name in ("mean", "done", "trainings", "gmacs", "core_hours")} == {
        "mean": "0.375", "done": "2", "trainings": "2", "gmacs": "2.0", "core_hours": "1.0",
    }  # fmt: skip
    assert (values[1]["mean"], values[1]["done"], values[1]["gmacs"]) == ("", "0", "")
    cell = table.rows["ResNet3D-50"]["top-1"]
    (training,) = cell.trainings["ucf101"]
    for measure, value in (("training", 0.9), ("validation", 0.5), ("mean of top-1 and top-5", None)):
        assert Cell(cell.trainings, "rgb", measure=measure).value(outcomes[training.trial(0).id]) == value
    assert [value for _, value in measured(cell, "ucf101", outcomes, (0, 1))] == [0.25, 0.5]


def test_windows_that_are_longer_than_the_clips_are_named(made):
    ucf = made("ucf")
    manifest = read_manifest(ucf)
    manifest["splits"]["train"] = {**manifest["splits"]["train"], "frames": 9537 * 20}
    table = table_of(replace(STUDY, experiment="t3d_table2", shards=(ucf,)))
    said = "Some windows of 63 frames are longer than the clips, which have 20 in the mean, and are looped"
    assert any(note.startswith(said) for note in notes(table, {ucf: manifest}))
    assert not any("looped" in note for note in notes(table, {ucf: read_manifest(ucf)}))


WALK = {  # one row of each table, so chosen that the tables share trainings
    "quo_vadis_table2": "LSTM",
    "quo_vadis_table3": "Two-Stream on RGB",
    "quo_vadis_table4": "LSTM with ImageNet",
    "t3d_table2": "T3D-121",
    "t3d_table3": "DenseNet3D-121",
    "t3d_table4": "DenseNet3D-121",
    "t3d_table5": "DenseNet3D-121",
    "t3d_table6": "DenseNet3D-121",
    "t3d_table8": "DenseNet3D-121",
    "t3d_table10": "DenseNet3D",
    "resnets_scratch": "long_patterns",
    "resnets_table2": "ResNet-18",
    "resnets_fine_tuned": "ResNet-18",
}


def test_the_walk_is_over_every_table():
    assert list(WALK) == list(TABLES)


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> str:
    """The one storage of the walk, in which tables share data and trainings."""
    return str(tmp_path_factory.mktemp("study"))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("name", WALK)
def test_a_row_of_every_table_goes_from_data_to_report(cluster, storage, name):
    row = WALK[name]
    study = StudyConfig(storage=storage, seeds=(0,), experiment=name, scale="tiny", rows=(row,))
    result = run_study(study, write=lambda line: None)
    assert result.failed == {}
    (line,) = (each for each in result.rows[1:] if each[0] == row)
    assert all(figure != "-" for figure in line[2::2])
    values = list(csv.DictReader(Path(result.report).with_name("results.csv").read_text().splitlines()))
    assert {one["done"] for one in values if one["row"] == row} == {"1"}
