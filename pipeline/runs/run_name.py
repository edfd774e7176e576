"""The names of runs: a new one is never used twice, and under an old one the run goes on that has it."""

import datetime
import difflib
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from pipeline.config import Config, ConfigError, from_dict, stored, to_dict
from pipeline.masking import masked, masked_fields
from pipeline.storage import exists, list_entries, read_json
from pipeline.tracking.runs import time_stamp
from pipeline.training.classes import some

# What may be another in a run that goes on: it changes how a step is computed, and not which clips are in it.
# Shards may lie elsewhere, since their digest is compared.
MAY_CHANGE = (
    "optimiser.lr", "training.batch_size", "training.accumulate", "training.checkpoint_steps", "evaluation.batch_size",
    "resources.", "tracking.uri", "ingest.shards", "allow_other_data",
    "tracking.every_s", "tracking.every_steps",
)  # fmt: skip
ABOUT_THE_RUN = ("resume", "name", "storage", "recipe", "config")


def named(config: Config, given: Collection[str] = (), now: Callable[[], datetime.datetime] | None = None) -> Config:
    """The config with the name of a new run, or the config of the run that is resumed.

    Ray Train goes on under a name that it knows, whatever the config says: so a used name is refused, and a resumed
    run takes its own config, but for what may change.

    Args:
        config: resolved.
        given: names of the fields that were asked for on the command line, such as `training.batch_size`.
        now: tells the time.

    Raises:
        ConfigError: the name is taken, there is no run to resume, or it cannot go on with another value.
    """
    if config.resume:
        _plain_name("resume", config.resume)
        before = read_run(config.storage, config.resume, "--resume")
        return replace(changed(before, config, given), resume=config.resume)
    if not config.name:
        stamp = time_stamp(now)
        config = replace(config, name=f"{config.tracking.experiment}-{stamp}-{secrets.token_hex(2)}")
    if exists(f"{config.storage}/runs/{_plain_name('name', config.name)}"):
        raise ConfigError(f"--name {config.name}: taken; --resume {config.name} continues it, another name starts anew")
    return config


def read_run(storage: str, name: str, flag: str) -> Config:
    """The config of a run that is there.

    Args:
        storage: where runs are.
        name: the name of the run.
        flag: by which the user named it.

    Raises:
        ConfigError: there is no such run, or another version wrote it and its config cannot be read.
    """
    runs = f"{storage}/runs"
    if not exists(f"{runs}/{name}/run.json"):
        there = [each for each in list_entries(runs) if exists(f"{runs}/{each}/run.json")] if exists(runs) else []
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {some(sorted(there)[::-1])}" if there else ""
        raise ConfigError(f"{flag} {name}: no such run in {runs}{hint}")
    run = read_json(f"{runs}/{name}/run.json")
    values = _moved(run["config"], run["config"].get("storage") or storage, storage)
    return stored(Config, values, f"{runs}/{name}/run.json", run.get("version", ""))


def _moved(values: Any, before: str, now: str) -> Any:
    """A stored config whose paths below the storage are those of where the storage is now."""
    if isinstance(values, dict):
        return {name: _moved(value, before, now) for name, value in values.items()}
    if isinstance(values, str) and re.match(rf"(sqlite:///)?{re.escape(before)}(/|$)", values):
        return values.replace(before, now, 1)
    return values


def changed(before: Config, asked: Config, given: Collection[str]) -> Config:
    """A run's config with those of the fields that were asked for which may change.

    Raises:
        ConfigError: a field that may not, or a step of another number of clips.
    """
    values, wanted = to_dict(before), to_dict(asked)
    for name in given:
        old, new = _at(values, name), _at(wanted, name)
        if old == new or name in ABOUT_THE_RUN:
            continue
        if not name.startswith(MAY_CHANGE) and masked(new) != old:
            raise ConfigError(f"--{name}: a resumed run keeps its {old}; a new run may have another")
        section, _, leaf = name.rpartition(".")
        (_at(values, section) if section else values)[leaf] = new
    for name in masked_fields(values):
        raise ConfigError(f"--resume: {name} was stored without its password; give --{name} again")
    after = from_dict(Config, values)
    if after.training.clips_per_step is not None and "training.accumulate" not in given:
        after = replace(after, training=replace(after.training, accumulate=1))  # what it becomes, workers will say
    elif before.clips_of_a_step != after.clips_of_a_step:
        raise ConfigError(
            f"--resume: steps of {after.clips_of_a_step} clips, and they were of {before.clips_of_a_step}; keep "
            "training.batch_size x training.accumulate x resources.workers"
        )
    return after


def _at(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _plain_name(field: str, name: str) -> str:
    """A run's name becomes a folder: letters, digits, dots, dashes and underscores, no dot first."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", name):
        raise ConfigError(f"--{field} {name!r}: use letters, digits, '.', '-' and '_' only")
    return name
