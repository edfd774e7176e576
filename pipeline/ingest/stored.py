"""Use of a complete shard set without a catalog: the set holds its clips, classes, splits and settings.

So a set can be copied to another machine and used for training there. The run takes over the settings of the set, so
that the trained model prepares videos in the same way as the clips were prepared.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, get_args

from pipeline.config import Config, ConfigError, Dataset, IngestConfig, from_dict, to_dict
from pipeline.ingest.plan import UNDECISIVE
from pipeline.shards.manifest import MANIFEST, read_manifest
from pipeline.shards.splits import numbers_of, splits_of
from pipeline.storage import exists

SOURCES = ("annotations", "videos", "archives", "motion_shapes", "groups", "fold")
"""Catalog fields that say where clips come from; if the command line sets one, the clips are to be ingested."""


def is_alone(config: Config, given: Collection[str], section: str = "") -> bool:
    """Return whether a job uses its shard set alone and reads no catalog.

    Args:
        config: a resolved config.
        given: names of the fields that the command line sets.
        section: prefix of the config's fields among the job's fields, such as `base.`.
    """
    names = [name.removeprefix(section) for name in given]
    if config.catalog.in_turn and exists(f"{config.ingest.shards}/{MANIFEST}"):
        names = [name for name in names if name != "catalog.fold"]
    if any(name.startswith(tuple(f"catalog.{source}" for source in SOURCES)) for name in names) or config.retry:
        return False
    if "ingest.shards" in names:
        return True
    sources = config.catalog.annotations or config.catalog.videos or config.catalog.archives
    return bool(config.resume or not sources) and exists(f"{config.ingest.shards}/{MANIFEST}")


def with_stored(config: Config, given: Collection[str], section: str = "") -> Config:
    """Return the config with the settings that its shard set was made with.

    Args:
        config: a resolved config.
        given: names of the fields that the command line sets.
        section: prefix of the config's fields among the job's fields, such as `base.`.

    Raises:
        ShardError: the set is not complete.
        ConfigError: the command line asks for something that the set does not have, or the config does not fit it.
    """
    shards, manifest = config.ingest.shards, read_manifest(config.ingest.shards)
    asked, values = to_dict(config), to_dict(config)
    take_over(values, manifest)
    for name in given:
        plain = name.removeprefix(section)
        old, new = _at(values, plain), _at(asked, plain)
        if plain.startswith(("ingest.", "catalog.")) and old != new:
            raise ConfigError(
                f"--{name}: {shards} was made with {_text(old)}, not {_text(new)}; leave it out, or make another set "
                "from the videos"
            )
        each = plain in ("catalog.split_number", "catalog.fold") and config.catalog.in_turn
        if each and numbers_of(splits_of(manifest["splits"])):
            continue
        if plain in ("catalog.limit", "catalog.splits", "catalog.split_seed", "catalog.split_number", "catalog.fold"):
            raise ConfigError(f"--{name}: {shards} has its clips already; leave it out, or ingest anew")
    if missing := [stream for stream in config.model.streams if stream not in values["ingest"]["streams"]]:
        there = ",".join(stream for stream in config.model.streams if stream not in missing)
        raise ConfigError(
            f"{section}model.streams: {shards} has no {missing[0]}; "
            + (f"--{section}model.streams {there} trains without it" if there else "make another set from the videos")
        )
    return replace(from_dict(Config, values), resume=config.resume)


def take_over(values: dict[str, Any], manifest: Mapping[str, Any]) -> None:
    """Change the plain values of a config to the settings that the set with this manifest was made with."""
    known = {field.name for field in fields(IngestConfig)} - set(UNDECISIVE)
    settings = manifest["plan"].get("settings", {})
    values["ingest"] |= {name: value for name, value in settings.items() if name in known}
    if manifest["dataset"] in get_args(Dataset):
        values["catalog"]["dataset"] = manifest["dataset"]


def _at(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
