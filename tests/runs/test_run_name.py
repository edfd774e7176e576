"""Names of runs: refused, resumed, and resumed with what may change."""

import json
from pathlib import Path

import pytest

from pipeline.command_line import given, override
from pipeline.config import ConfigError, to_dict
from pipeline.masking import masked
from pipeline.runs.run_name import named
from pipeline.workers import Machines, fitted


@pytest.fixture
def mine(tiny, tmp_path):
    """The config of a run that is there, of steps of 2 x 4 clips."""
    config = override(tiny, {"storage": str(tmp_path), "name": "mine"})
    assert named(config) == config
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": to_dict(config), "runs": {}}))
    return config


def resumed(config, *argv):
    """As a job does it."""
    asked = override(config, {"resume": "mine", **dict(zip([word[2:] for word in argv[::2]], argv[1::2], strict=True))})
    return named(asked, given(argv))


def test_a_used_name_is_refused_and_a_new_one_made(mine):
    with pytest.raises(ConfigError, match="--name mine: taken; --resume mine continues it"):
        named(mine)
    assert named(override(mine, {"name": ""})).name.startswith("demo-")


def test_a_resumed_run_takes_its_own_config(mine):
    other = override(mine, {"name": "other", "resume": "mine", "training.epochs": "99"})  # a recipe's, not asked for
    assert (named(other).name, named(other).training.epochs) == ("mine", mine.training.epochs)


def test_a_resumed_run_may_do_the_same_steps_in_less_memory_or_at_a_lower_rate(mine):
    config = resumed(mine, "--training.batch_size", "2", "--training.accumulate", "2", "--optimiser.lr", "0.01")
    assert (config.training.batch_size, config.training.accumulate, config.optimiser.lr) == (2, 2, 0.01)
    assert config.training.epochs == mine.training.epochs
    assert resumed(mine, "--resources.workers", "1", "--training.accumulate", "2").resources.workers == 1


def test_what_a_resumed_run_cannot_change_is_said(mine):
    with pytest.raises(ConfigError, match=r"--training\.epochs: a resumed run keeps its 1; a new run may have another"):
        resumed(mine, "--training.epochs", "9")
    with pytest.raises(ConfigError, match=r"--resume: steps of 4 clips, and they were of 8; keep training\."):
        resumed(mine, "--training.batch_size", "2")
    assert resumed(mine, "--training.epochs", "1", "--storage", mine.storage).training.epochs == 1


def test_a_run_whose_steps_are_given_goes_on_with_other_workers_or_batches(mine):
    steps = override(mine, {"training.clips_per_step": "8", "training.accumulate": "1"})
    (run,) = (path for path in (Path(mine.storage) / "runs" / "mine").glob("run.json"))
    run.write_text(json.dumps({"config": to_dict(steps), "runs": {}}))
    for fields, accumulate in ((["--resources.workers", "1"], 2), (["--training.batch_size", "2"], 2)):
        config = fitted(resumed(steps, *fields), Machines(cpus=(4.0,)))
        assert (config.clips_of_a_step, config.training.accumulate) == (8, accumulate)


def test_an_address_that_was_stored_without_its_password_is_asked_for_again(tiny, tmp_path):
    uri = "postgresql://me:s3cret@host/mlflow"
    mine = override(tiny, {"storage": str(tmp_path), "name": "mine", "tracking.uri": uri, "catalog.videos": uri})
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": masked(to_dict(mine)), "runs": {}}))
    with pytest.raises(ConfigError, match=r"--resume: \S+ was stored without its password; give --\S+ again"):
        resumed(mine, "--tracking.uri", uri)
    given_again = resumed(mine, "--tracking.uri", uri, "--catalog.videos", uri)
    assert (given_again.tracking.uri, given_again.catalog.videos) == (uri, uri)


def test_a_secret_is_given_again_on_the_command_line_or_by_the_environment(mine, tmp_path):
    file = tmp_path / "runs" / "mine" / "run.json"
    secretive = override(
        mine, {"catalog.videos": "s3://KEY:SECRET@clips/k400", "ingest.fetch.youtube_proxies": "a:b@c:80"}
    )
    file.write_text(json.dumps({"config": masked(to_dict(secretive)), "runs": {}}))
    proxies = ("--ingest.fetch.youtube_proxies", "a:new@c:80")
    with pytest.raises(ConfigError, match=r"catalog\.videos was stored without its password; give --catalog\.videos"):
        resumed(mine, *proxies)
    with pytest.raises(ConfigError, match=r"ingest\.fetch\.youtube_proxies was stored without its password"):
        resumed(mine, "--catalog.videos", "s3://KEY:SECRET@clips/k400")
    for videos in ("s3://KEY:RENEWED@clips/k400", "s3://clips/k400"):
        assert resumed(mine, "--catalog.videos", videos, *proxies).catalog.videos == videos
    with pytest.raises(ConfigError, match=r"a resumed run keeps its s3://\*\*\*@clips/k400"):
        resumed(mine, "--catalog.videos", "s3://KEY:SECRET@clips/other", *proxies)
