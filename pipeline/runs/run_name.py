"""Names of runs: the name of a new run is unused, and a resumed run is continued under its name with its config."""

import datetime
import difflib
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from pipeline.config import Config, ConfigError, from_dict, stored, to_dict
from pipeline.masking import masked_fields, without_secrets
from pipeline.sqlite import file_of, with_file
from pipeline.storage import exists, list_entries, read_json
from pipeline.tracking.runs import time_stamp
from pipeline.training.classes import some

# Fields that may change when a run is resumed, since they do not change the clips of a step.
# The shards may be in another place, since their digest is compared.
MAY_CHANGE = (
    "optimiser.lr", "training.batch_size", "training.accumulate", "training.checkpoint_steps", "evaluation.batch_size",
    "resources.", "tracking.uri", "ingest.shards", "allow_other_data",
    "tracking.every_s", "tracking.every_steps",
)  # fmt: skip
ABOUT_THE_RUN = ("resume", "name", "storage", "recipe", "config")


def named(config: Config, given: Collection[str] = (), now: Callable[[], datetime.datetime] | None = None) -> Config:
    """Return the config with the name of a new run, or the config of the run that is resumed.

    Ray Train resumes under a name that it knows, whatever the config says. Therefore a used name is refused, and a
    resumed run takes its own config, except for fields that may change.

    Args:
        config: a resolved config.
        given: names of the fields that the command line sets, such as `training.batch_size`.
        now: function that returns the time.

    Raises:
        ConfigError: the name is taken, there is no run to resume, or a field was given that may not change.
    """
    if config.resume:
        plain_name("resume", config.resume)
        before = read_run(config.storage, config.resume, "--resume")
        return replace(changed(before, config, given), resume=config.resume)
    if not config.name:
        stamp = time_stamp(now)
        config = replace(config, name=f"{config.tracking.experiment}-{stamp}-{secrets.token_hex(2)}")
    if exists(f"{config.storage}/runs/{plain_name('name', config.name)}"):
        raise ConfigError(f"--name {config.name}: taken; --resume {config.name} continues it, another name starts anew")
    return config


def read_run(storage: str, name: str, flag: str) -> Config:
    """Read the config of an existing run.

    Args:
        storage: folder or URI of the storage.
        name: name of the run.
        flag: command-line option with which the user named the run.

    Raises:
        ConfigError: there is no such run, or its config, written by another version, cannot be read.
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


def in_storage(config: Config, storage: str) -> Config:
    """Return a stored config with the paths that its storage has now, in case the storage was moved."""
    return from_dict(Config, _moved(to_dict(config), config.storage or storage, storage))


def _moved(values: Any, before: str, now: str) -> Any:
    """Replace the old path of the storage by its present one in all values of a stored config."""
    if isinstance(values, dict):
        return {name: _moved(value, before, now) for name, value in values.items()}
    if not isinstance(values, str):
        return values
    if (file := file_of(values)) is not None:
        return with_file(values, _moved(file, before, now))
    return now + values[len(before) :] if values == before or values.startswith(f"{before}/") else values


def changed(before: Config, asked: Config, given: Collection[str]) -> Config:
    """Return a run's config with the values that the command line sets.

    Args:
        before: config of the run.
        asked: config with the values of the command line.
        given: names of the fields that the command line sets.

    Raises:
        ConfigError: one of these fields may not change, or the number of clips of a step would change.
    """
    values, wanted = to_dict(before), to_dict(asked)
    for name in given:
        old, new = _at(values, name), _at(wanted, name)
        if old == new or name in ABOUT_THE_RUN:
            continue
        if not name.startswith(MAY_CHANGE) and _plain(new) != _plain(old):
            raise ConfigError(f"--{name}: a resumed run keeps its {old}; a new run may have another")
        section, _, leaf = name.rpartition(".")
        (_at(values, section) if section else values)[leaf] = new
    for name in masked_fields(values):
        raise ConfigError(f"--resume: {name} was stored without its password; give --{name} again")
    after = from_dict(Config, values)
    if after.training.clips_per_step is not None and "training.accumulate" not in given:
        after = replace(after, training=replace(after.training, accumulate=1))  # adapted later to the number of workers
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


def _plain(value: Any) -> Any:
    """Return a value without the secrets in its addresses, which the environment may hold instead, and which change."""
    if isinstance(value, str):
        return without_secrets(value)
    return [_plain(one) for one in value] if isinstance(value, list) else value


def plain_name(field: str, name: str) -> str:
    """Return a name if it can be that of a folder.

    Args:
        field: the option with which the user gave it, for the message.
        name: the name.

    Raises:
        ConfigError: it cannot.
    """
    if not is_plain(name):
        raise ConfigError(f"--{field} {name!r}: use letters, digits, '.', '-' and '_' only")
    return name


def is_plain(name: str) -> bool:
    """Return whether a name can be a folder: letters, digits, dots, dashes and underscores, with no dot first."""
    return re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", name) is not None
