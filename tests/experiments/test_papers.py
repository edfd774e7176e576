"""Each table of the papers is trainings that can be run, and its report has the paper beside what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import ConfigError
from pipeline.experiments.papers import TABLES, Cell, table_of
from pipeline.experiments.papers_report import markdown, measured, table_rows
from pipeline.experiments.reproduction import run_study, trials_of
from pipeline.experiments.settings import DATA, StudyConfig
from pipeline.experiments.trial import Outcome
from pipeline.networks import network_inputs
from pipeline.shards.manifest import MANIFEST
from pipeline.training.input_check import check_input

STUDY = StudyConfig(storage="/nowhere", seeds=(0, 1))
CHECKED = set[object]()  # networks and windows that tables share


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "resnets_table2")) for name in TABLES]
)
def test_every_cell_is_a_training_whose_network_takes_its_clips(name):
    table = table_of(replace(STUDY, experiment=name))
    digests, keys = dict.fromkeys(DATA, "digest"), dict[str, str]()
    for trial in trials_of(table.trainings, (0,)):
        config = trial.training.config
        assert trial.training.data in DATA
        assert set(config.model.streams) <= set(config.ingest.streams)
        assert keys.setdefault(str(trial), trial.key(digests)) == trial.key(digests)  # one name is one training
        facts = (config.model.name, str(config.model.options), config.clips, config.model.streams)
        if trial.training.kind == "train" and facts not in CHECKED:
            CHECKED.add(facts)
            for network, streams in network_inputs(config.model).items():
                check_input(config, network, streams)
    for cells in table.rows.values():
        for cell in cells.values():
            for one in cell.trainings:
                own = [*network_inputs(one.config.model)]
                assert cell.network in own or (cell.network == "two_stream" and own == ["rgb", "flow"])


def test_tables_share_the_trainings_that_are_the_same():
    digests = dict.fromkeys(DATA, "digest")
    keys = {
        name: {trial.key(digests) for trial in trials_of(table_of(replace(STUDY, experiment=name)).trainings, (0,))}
        for name in ("t3d_table2", "t3d_table4")
    }
    assert len(keys["t3d_table2"] & keys["t3d_table4"]) == 1  # T3D-121


@pytest.fixture
def sets(few, tmp_path) -> tuple[str, str, str]:
    """Three shard sets that say that their clips are 256 pixels high; nothing is trained on them."""
    manifest = json.loads(Path(few.ingest.shards, MANIFEST).read_text())
    manifest["plan"]["settings"]["short_side"] = 256
    for name in ("one", "two", "source"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / MANIFEST).write_text(json.dumps(manifest))
    return str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "source")


@pytest.mark.ray
@pytest.mark.parametrize("name", TABLES)
def test_on_given_sets_a_table_is_the_papers_recipes_on_every_split(sets, name):
    one, two, source = sets
    table = table_of(replace(STUDY, experiment=name, shards=(one, two), source=source, epochs=3))
    trials = trials_of(table.trainings, (0,))
    assert {trial.training.data for trial in trials} - {source} == {one, two}
    assert {trial.training.config.training.epochs for trial in trials} == {3}
    assert len({trial.id for trial in trials}) == len(trials)
    sizes = {trial.training.config.clips.crop for trial in trials}
    assert sizes <= {112, 224}
    cells = [cell for cells in table.rows.values() for cell in cells.values()]
    named = {one.name: one for one in table.trainings}
    assert all(named[one.name] == one for cell in cells for one in cell.trainings)  # no two trainings of one name
    if name != "resnets_scratch":
        assert {len(cell.trainings) for cell in cells} <= {0, 2}  # none: the paper's figure alone


@pytest.mark.ray
def test_what_a_table_lacks_is_said_in_one_line(sets, few):
    manifest = json.loads(Path(sets[1], MANIFEST).read_text())
    manifest["splits"] = {f"{split}_0": counts for split, counts in manifest["splits"].items()}
    Path(sets[1], MANIFEST).write_text(json.dumps(manifest))
    wrong = {
        r"two has no split train, as a set of all folds": {"experiment": "t3d_table4", "shards": sets[1:2]},
        r"no such experiment; did you mean t3d_table4\?": {"experiment": "t3d_tabel4"},
        r"--source DIR names the shard set to pretrain on": {"experiment": "t3d_table10", "shards": sets[:1]},
        r"crop: 224 pixels do not fit": {"experiment": "t3d_table4", "shards": (few.ingest.shards,)},
        r"t3d_table4 has none": {"experiment": "t3d_table4", "claims": ("start",)},
        r"the claims are tested on rendered clips": {"shards": sets[:1]},
    }
    for message, options in wrong.items():
        with pytest.raises(ConfigError, match=message):
            table_of(replace(STUDY, **options))


def test_a_cell_has_the_paper_beside_the_mean_over_seeds_and_splits():
    table = table_of(replace(STUDY, experiment="t3d_table4"))
    row = {"train/clips": 8.0, "train/top1": 0.9, "val/top1": 0.5}
    outcomes = {
        trial.id: Outcome("n", {"rgb": 0.25 * (1 + trial.seed)}, 16, "d", {"rgb": [row]}, 8, {}, 60.0, {})
        for trial in trials_of(table.trainings, STUDY.seeds)
        if not trial.training.name.startswith("t3d121")
    }
    rows = table_rows(table, outcomes, STUDY.seeds)
    assert rows[0] == ["", "top-1: paper", "top-1: measured"]
    assert rows[1] == ["ResNet3D-50", "59.2", "37.5 ± 17.7"]
    assert rows[4] == ["T3D", "71.4", "-"]  # whose trials failed
    manifest = {"dataset": "motion_shapes", "digest": "d", "splits": {"train": {"present": 8}}}
    text = markdown(STUDY, table, outcomes, {"patterns": manifest}, {"t3d121 seed 0": "lost"})
    assert "Paper: UCF-101 split 1. Measured: motion\\_shapes, seeds 0, 1" in text
    assert "- **Failed**: t3d121 seed 0: lost" in text
    (training,) = table.rows["ResNet3D-50"]["top-1"].trainings
    for measure, value in (("training", 0.9), ("validation", 0.5), ("mean of top-1 and top-5", None)):
        assert Cell((training,), "rgb", measure=measure).value(outcomes[training.trial(0).id]) == value
    assert measured(Cell((training,), "rgb", measure="training"), outcomes, (0, 1)) == [0.9, 0.9]


@pytest.mark.ray
@pytest.mark.slow
def test_a_table_with_a_chain_runs_from_data_to_report(cluster, tmp_path):
    study = StudyConfig(storage=str(tmp_path), seeds=(0,), experiment="quo_vadis_table3", scale="tiny")
    result = run_study(study, write=lambda line: None)
    assert result.failed == {}
    i3d = [f"Two-Stream I3D{stream}" for stream in (", RGB", ", Flow", "")]
    assert [row[0] for row in result.rows[1:6]] == ["LSTM", *i3d, "3D-ConvNet"]
    assert all(row[2] != "-" and row[4] != "-" for row in result.rows[1:5])
    assert "| LSTM | 53.9 | " in Path(result.report).read_text()
