"""A resumed run goes on over the data that it began with."""

import json
from dataclasses import replace

import pytest
import torch
from torch.optim import SGD

from pipeline.command_line import override
from pipeline.config import VERSION, ConfigError, to_dict
from pipeline.models.weights import read_weights
from pipeline.runs.pretrain import begun
from pipeline.runs.run_name import named
from pipeline.runs.trained_networks import trained_run
from pipeline.sqlite import address_of
from pipeline.training.checkpoints import State
from pipeline.training.provenance import provenance_of
from pipeline.training.tasks import task_of

MANIFEST = {"labels": ["a", "b", "c"], "dataset": "mine", "digest": "0123"}


@pytest.fixture
def run(tiny, tmp_path):
    """The config of a run that has begun."""
    config = override(tiny, {"storage": str(tmp_path), "name": "first"})
    with begun(config, MANIFEST, ["rgb", "flow"]) as (config, _, state):
        (tmp_path / "runs" / "first" / "run.json").write_text(json.dumps(state))
    return config


def resumed(run, manifest, **fields):
    """The config under which it goes on."""
    asked = override(replace(run, resume="first"), fields)
    with begun(named(asked, list(fields)), manifest, ["rgb", "flow"]) as (config, _, state):
        assert state["config"] == to_dict(config)
        return config, state


def test_run_json_says_which_classes_data_and_input_the_networks_are_of(run, tmp_path):
    stored = json.loads((tmp_path / "runs" / "first" / "run.json").read_text())
    assert stored["version"] == VERSION
    rgb, flow = stored["networks"]["rgb"], stored["networks"]["flow"]
    assert (rgb["labels"], rgb["dataset"], rgb["digest"], rgb["stream"]) == (["a", "b", "c"], "mine", "0123", "rgb")
    assert rgb["input"]["levels"] == "signed"
    assert (flow["input"]["flow_bound"], flow["input"]["frames"]) == (5.0, 4)


def test_over_the_same_data_it_goes_on(run):
    config, _ = resumed(run, MANIFEST)
    assert config == run
    moved, _ = resumed(run, MANIFEST, **{"ingest.shards": "/moved"})
    assert moved == override(run, {"ingest.shards": "/moved"})


def test_a_storage_that_was_moved_is_looked_for_where_it_is(run, tmp_path):
    before = {
        "ingest.shards": f"{tmp_path}/shards/mine", "model.weights.rgb": f"{tmp_path}/runs/other",
        "catalog.videos": f"{tmp_path}-videos", "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db",
    }  # fmt: skip
    state = json.loads((tmp_path / "runs" / "first" / "run.json").read_text())
    state["config"] = to_dict(override(run, before))
    moved = tmp_path / "moved"
    (moved / "runs" / "first").mkdir(parents=True)
    (moved / "runs" / "first" / "run.json").write_text(json.dumps(state))
    config = named(replace(run, resume="first", storage=str(moved)))
    assert config.storage == str(moved)
    assert config.ingest.shards == f"{moved}/shards/mine"
    assert config.model.weights == {"rgb": f"{moved}/runs/other"}
    assert config.catalog.videos == f"{tmp_path}-videos"
    assert config.tracking.uri == f"sqlite:///{moved}/mlflow.db"


@pytest.mark.parametrize(("before", "now"), [("a%20b", "plain"), ("plain", "a?b")])
def test_the_address_of_the_database_is_that_of_the_moved_storage(run, tmp_path, before, now):
    state = json.loads((tmp_path / "runs" / "first" / "run.json").read_text())
    state["config"] = to_dict(
        override(run, {"storage": f"{tmp_path}/{before}", "tracking.uri": address_of(f"{tmp_path}/{before}/mlflow.db")})
    )
    (tmp_path / now / "runs" / "first").mkdir(parents=True)
    (tmp_path / now / "runs" / "first" / "run.json").write_text(json.dumps(state))
    config = named(replace(run, resume="first", storage=str(tmp_path / now)))
    assert config.tracking.uri == address_of(f"{tmp_path}/{now}/mlflow.db")
    assert config.storage == f"{tmp_path}/{now}"


def test_over_other_data_it_goes_on_only_when_that_is_confirmed(run, capsys):
    other = {**MANIFEST, "digest": "4567"}
    line = r"^--resume first: it began with data of digest 0123, and .* has 4567; bring those back, or --allow_other_d"
    with pytest.raises(ConfigError, match=line):
        resumed(run, other)
    config, state = resumed(run, other, allow_other_data="true")
    assert config == run  # and the next resume asks again
    assert state["networks"]["rgb"]["digest"] == "4567"
    assert "goes on over other data, digest 4567 instead of 0123" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "says"),
    [(["b", "a", "c"], "its classes are in another order"), (["a", "b", "d"], "it does not know 'd' of the 3 classes")],
)
def test_over_other_classes_it_does_not_go_on_at_all(run, labels, says):
    for fields in ({}, {"allow_other_data": "true"}):
        with pytest.raises(ConfigError, match=rf"^--resume first: .* is not what it began with, {says}.*digest 0123"):
            resumed(run, {**MANIFEST, "digest": "4567", "labels": labels}, **fields)


def test_a_run_of_a_version_that_did_not_note_its_data_goes_on(run, tmp_path):
    path = tmp_path / "runs" / "first" / "run.json"
    path.write_text(json.dumps({"config": to_dict(run), "runs": {}}))
    assert resumed(run, MANIFEST)[0] == run


def test_a_wrong_name_is_answered_with_the_nearest_run(run, tmp_path):
    with pytest.raises(ConfigError, match=r"^--resume frist: no such run in .*/runs; did you mean first\?$"):
        named(replace(run, resume="frist"))
    with pytest.raises(ConfigError, match=r"^--resume another: no such run in .*/runs; it has 'first'$"):
        named(replace(run, resume="another"))
    with pytest.raises(ConfigError, match=r"^--run fist: no such run in .*/runs; did you mean first\?$"):
        trained_run(str(tmp_path), "fist")


def test_a_run_of_another_version_names_all_fields_that_are_gone(run, tmp_path):
    path = tmp_path / "runs" / "first" / "run.json"
    old = to_dict(run)
    old["clips"]["crops"], old["model"]["arch"] = 3, "i3d"
    path.write_text(json.dumps({"version": "0.0.7", "config": old, "runs": {}}))
    for read in (lambda: named(replace(run, resume="first")), lambda: trained_run(str(tmp_path), "first")):
        with pytest.raises(ConfigError) as raised:
            read()
        said = str(raised.value)
        assert "clips.crops: no such field; did you mean crop?; model.arch: no such field" in said
        assert said.endswith(f"(in {path}, written by version 0.0.7; this is {VERSION})")
        assert "\n" not in said


def test_a_checkpoint_says_what_it_is_of_and_is_not_gone_on_from_with_other_classes(tiny, tmp_path):
    here = provenance_of(tiny, "flow", MANIFEST)
    network, loaded = task_of(tiny, "flow").network(here)
    assert loaded is None
    state = State(network, SGD(network.parameters(), lr=0.1), provenance=here)
    state.save(tmp_path)
    assert read_weights(tmp_path / "model.pt").provenance == here
    state.load(tmp_path, torch.device("cpu"))
    assert (state.restarts, state.began_with) == (1, "0123")
    other = State(network, state.optimiser, provenance=replace(here, labels=("b", "a", "c")))
    with pytest.raises(ConfigError, match="its classes are not those of the data, or not in their order; a new run"):
        other.load(tmp_path, torch.device("cpu"))
