"""The job around a training: what it refuses before any work, and what it keeps so that a run can go on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.command_line import override
from pipeline.config import Config, ConfigError
from pipeline.interruptions import Interrupted
from pipeline.recipes.demo import demo
from pipeline.runs.pretrain import begun, check_same_data, check_splits, run_of
from pipeline.training.provenance import provenance_of

MANIFEST = {
    "digest": "d" * 16,
    "dataset": "set",
    "labels": ["jump", "run"],
    "plan": {"flow_version": "cpu 1"},
    "splits": {},
}


@pytest.fixture
def config(tmp_path) -> Config:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return override(demo(), {"storage": str(tmp_path), "name": "one", "tracking.uri": uri}).resolved()


@pytest.mark.parametrize("field", ["training.train_split", "training.val_split", "evaluation.split"])
def test_a_split_that_the_catalog_does_not_have_is_refused_by_its_field(config, field):
    wrong = override(config, {field: "tets"})
    with pytest.raises(ConfigError, match=rf"{field}: no split 'tets' in the catalog, which has test, train, val"):
        check_splits(wrong.training, wrong.evaluation, ["val", "train", "test"])


def test_a_run_goes_on_over_other_data_only_when_that_is_asked_for(config, capsys):
    before = provenance_of(config, "rgb", MANIFEST)
    here = replace(before, digest="e" * 16)
    check_same_data(config, before, before)
    with pytest.raises(ConfigError, match=r"began with data of digest d{16}.* has e{16}.*--allow_other_data true"):
        check_same_data(config, before, here)
    check_same_data(replace(config, allow_other_data=True), before, here)
    assert "goes on over other data, digest eeeeeeeeeeeeeeee instead of dddddddddddddddd" in capsys.readouterr().out


def test_other_classes_are_refused_even_when_other_data_is_asked_for(config):
    before = provenance_of(config, "rgb", MANIFEST)
    allowed = replace(config, allow_other_data=True)
    with pytest.raises(ConfigError, match="its classes are in another order"):
        check_same_data(allowed, before, replace(before, labels=("run", "jump")))
    with pytest.raises(ConfigError, match="sit"):
        check_same_data(allowed, before, replace(before, labels=("jump", "sit")))


def test_a_run_is_kept_with_its_networks_and_its_mlflow_run_and_no_password(config):
    secret = override(config, {"ingest.fetch.youtube_proxies": "http://me:secret@host:80"})
    with (
        begun(secret, MANIFEST, ["rgb"]) as (known, folder, state),
        run_of(known.storage, known.tracking, "one", state, folder, "all") as run,
    ):
        stored = json.loads(Path(folder, "run.json").read_text())
    assert stored["runs"] == {"all": run.run_id}
    assert stored["networks"]["rgb"]["labels"] == ["jump", "run"]
    assert stored["networks"]["rgb"]["digest"] == "d" * 16
    assert stored["config"]["name"] == "one"
    assert "secret" not in json.dumps(stored)


def test_a_run_that_is_resumed_goes_on_in_its_mlflow_run(config):
    with (
        begun(config, MANIFEST, ["rgb"]) as (known, folder, state),
        run_of(known.storage, known.tracking, "one", state, folder, "all") as run,
    ):
        first = run.run_id
    with (
        begun(replace(config, resume="one"), MANIFEST, ["rgb"]) as (known, folder, state),
        run_of(known.storage, known.tracking, "one", state, folder, "all") as run,
    ):
        assert run.run_id == first
        assert known.resume == ""
    assert run.client.get_run(first).info.status == "FINISHED"


def test_an_interrupted_run_names_the_command_that_goes_on(config):
    with (
        pytest.raises(Interrupted) as stop,
        begun(config, MANIFEST, ["rgb"]) as (known, folder, state),
        run_of(known.storage, known.tracking, "one", state, folder, "all"),
    ):
        raise KeyboardInterrupt
    assert "run one keeps" in str(stop.value)
    assert stop.value.goes_on == ["--resume", "one", "--storage", config.storage]


def test_a_run_interrupted_before_it_keeps_anything_leaves_its_name_free(config, tmp_path):
    with pytest.raises(KeyboardInterrupt), begun(config, MANIFEST, ["rgb"]):
        raise KeyboardInterrupt
    assert not (tmp_path / "runs" / "one").exists()
