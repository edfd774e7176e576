"""The commands, options and known values that a shell can complete."""

import argparse
import importlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pipeline.command_line import fields, kind_of
from pipeline.config import Config, SweepConfig
from pipeline.experiments.settings import StudyConfig
from pipeline.next_command import JOBS
from pipeline.recipes import FINE_TUNE, PRETRAIN, SWEEP, TRANSFER
from pipeline.submission import PATHS

SHELLS = ("bash", "zsh", "fish")
TREES: Mapping[str, tuple[type, Collection[str]]] = {
    "ingest": (Config, PRETRAIN),
    "pretrain": (Config, PRETRAIN),
    "finetune": (Config, FINE_TUNE),
    "transfer": (Config, TRANSFER),
    "sweep": (SweepConfig, SWEEP),
    "reproduce": (StudyConfig, ["study"]),
}
"""Commands that take the fields of a config: class of the config, and names of the recipes."""
PLANNED = ("ingest", "pretrain", "finetune", "transfer", "sweep")
"""Commands that take --plan."""
KEYS = {
    "catalog.annotations": ("train", "val", "test", "splits", "ids", "lookup"),
    "catalog.archives": ("train", "val", "test", "replacements"),
    "model.weights": ("rgb", "flow", "two_stream"),
    "model.options": (),
}
"""Common keys of the fields that are mappings."""
FILES = (*PATHS, "model.inflate")
PATHS_OF_PARSERS = ("DIR", "OTHER_SHARDS", "SCORES")  # names under which parsers show arguments that are paths or URIs


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        name: the name with its dashes.
        says: a one-line description.
        values: the values that it may have, if they are known.
        many: whether it takes several values, separated by commas.
        files: whether its value is a path.
        flag: whether it takes no value.
    """

    name: str
    says: str = ""
    values: tuple[str, ...] = ()
    many: bool = False
    files: bool = False
    flag: bool = False


@dataclass(frozen=True)
class Command:
    """A command of `video-actions`.

    Attributes:
        verb: its name.
        says: a one-line description.
        options: the options that it takes.
        values: the values that its first argument may have.
        files: whether it takes paths as positional arguments.
    """

    verb: str
    says: str
    options: tuple[Option, ...]
    values: tuple[str, ...] = ()
    files: bool = False


def commands() -> list[Command]:
    """Return all commands."""
    return [*map(_command, JOBS), Command("completion", _first_line("completion"), (_HELP,), SHELLS)]


_HELP = Option("--help", "Show what the command takes", flag=True)


def _command(verb: str) -> Command:
    says = _first_line(verb)
    if verb in TREES:
        return Command(verb, says, (*_of_recipes(TREES[verb][1]), *_of_tree(TREES[verb][0]()), *_flags(verb), _HELP))
    words = importlib.import_module(f"pipeline.commands.{verb}").options()
    pieces = {name: piece for action in words._actions for name, piece in _pieces(action).items()}
    options = [option for parser in (words, *pieces.values()) for option in _of_parser(parser)]
    options += _of_tree(Config()) if verb == "evaluate" else ()
    files = any(not action.option_strings for action in words._actions)
    return Command(verb, says, tuple({option.name: option for option in options}.values()), tuple(pieces), files)


def _pieces(action: argparse.Action) -> Mapping[str, argparse.ArgumentParser]:
    """Return the subcommands that an argument of a parser defines."""
    return action.choices if isinstance(action, argparse._SubParsersAction) else {}


def _first_line(verb: str) -> str:
    return (importlib.import_module(f"pipeline.commands.{verb}").__doc__ or "").splitlines()[0]


def _of_recipes(names: Collection[str]) -> Iterator[Option]:
    yield Option("--recipe", "What the config begins as", tuple(names))
    yield Option("--config", "A saved config.yaml instead of a recipe", files=True)


def _flags(verb: str) -> Iterator[Option]:
    if verb in PLANNED:
        yield Option("--plan", "Say what there is to do, and do nothing", flag=True)


def _of_tree(config: Any) -> Iterator[Option]:
    for name, value, text in fields(config):
        says = " ".join(text.split()).split(". ")[0].rstrip(".")
        files = name.endswith(FILES)
        if isinstance(value, dict):
            keys = next((keys for field, keys in KEYS.items() if name.endswith(field)), ())
            yield from (Option(f"--{name}.{key}", says, files=files) for key in keys)
        elif name.rpartition(".")[2] != "recipe":
            values, many = _values(kind_of(config, name))
            yield Option(f"--{name}", says, values, many, files)


def _values(kind: Any) -> tuple[tuple[str, ...], bool]:
    """Return the known values of a field of this type, and whether it can hold several."""
    if kind is bool:
        return ("true", "false"), False
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind))), False
    several = get_origin(kind) is tuple
    found = (_values(inner)[0] for inner in get_args(kind))
    return tuple(value for values in found for value in values), several


def _of_parser(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if action.option_strings:
            name = action.option_strings[-1]
            values = tuple(map(str, action.choices or ()))
            files = action.type is Path or action.metavar in PATHS_OF_PARSERS
            yield Option(name, action.help or "", values, files=files, flag=action.nargs == 0)
