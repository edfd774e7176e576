"""What every command takes, as a shell completes it: commands, options, and the values that are known beforehand."""

import argparse
import importlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pipeline.command_line import fields, kind_of
from pipeline.config import Config, SweepConfig
from pipeline.next_command import JOBS
from pipeline.recipes import FINE_TUNE, PRETRAIN, SWEEP, TRANSFER
from pipeline.studies.settings import StudyConfig
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
"""Commands that take the fields of a config, with their recipes; the others have options of their own."""
PLANNED = ("ingest", "pretrain", "finetune", "transfer")
"""Commands that take --plan."""
KEYS = {
    "catalog.annotations": ("train", "val", "test", "splits"),
    "catalog.archives": ("train", "val", "test"),
    "model.weights": ("rgb", "flow", "two_stream"),
    "model.options": (),
}
"""Usual keys of the fields that are mappings."""
FILES = (*PATHS, "model.inflate")
PATHS_OF_PARSERS = ("DIR", "OTHER_SHARDS", "SCORES")  # or URIs


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        name: with its dashes.
        says: one line.
        values: what may follow, where that is known.
        many: whether several of the values may follow, with commas between.
        files: whether a path follows.
        flag: whether nothing follows.
    """

    name: str
    says: str = ""
    values: tuple[str, ...] = ()
    many: bool = False
    files: bool = False
    flag: bool = False


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        verb: its name.
        says: one line.
        options: those that it takes.
        values: what its first word may be.
        files: whether it takes paths without an option.
    """

    verb: str
    says: str
    options: tuple[Option, ...]
    values: tuple[str, ...] = ()
    files: bool = False


def commands() -> list[Command]:
    """Every command."""
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
    """The commands of a command."""
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
    """What a field of a kind may be, and whether it holds several."""
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
