"""The command line of every job: a recipe or a saved config file, then overrides of single fields by dotted name.

    python jobs/JOB.py --recipe NAME --training.epochs 5 --model.streams rgb,flow
    python jobs/JOB.py --config FILE.yaml --ingest.flow.warps=3

`parse` turns it into a checked config tree before Ray or CUDA starts. A wrong name or value gives one line on stderr
and exit status 2.
"""

import dataclasses
import difflib
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

import yaml
from pydantic import TypeAdapter

from pipeline import console, plain_yaml
from pipeline.config import ConfigError, check_values, from_dict, load, nearest, to_dict
from pipeline.interruptions import Interrupted, interruptible, status

T = TypeVar("T")
_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


Change = Callable[[dict[str, Any], Collection[str]], object]


def parse(
    kind: type[T],
    recipes: Mapping[str, Callable[[], T]],
    argv: Sequence[str] | None = None,
    doc: str = "",
    change: Change | None = None,
) -> T:
    """Return the config that a command line asks for.

    Args:
        kind: class of the config tree.
        recipes: recipe functions by name; the first is the default.
        argv: arguments without the program's name; `sys.argv[1:]` when None.
        doc: the job's docstring, printed by `--help`.
        change: function that changes the plain values of the config after the overrides are set; it also gets the names
            of the overridden fields.

    Raises:
        SystemExit: 0 after `--help`, 2 after one line that names the wrong argument and the nearest right one.
    """
    try:
        arguments = dict(_pairs(list(sys.argv[1:] if argv is None else argv)))
        base = _base(kind, recipes, arguments)
        if "help" in arguments:
            show(help_text(base, recipes, doc))
            raise SystemExit(0)
        return override(base, arguments, change)
    except ConfigError as error:
        fail(str(error))


def given(argv: Sequence[str] | None = None) -> list[str]:
    """Return the names of the fields that a command line sets (`sys.argv[1:]` when None)."""
    return list(overrides(sys.argv[1:] if argv is None else argv))


def planning(argv: Sequence[str] | None = None) -> tuple[list[str], bool]:
    """Return a command line (`sys.argv[1:]` when None) without the word --plan, and whether it had that word."""
    words = list(sys.argv[1:] if argv is None else argv)
    return [word for word in words if word != "--plan"], "--plan" in words


def overrides(argv: Sequence[str]) -> dict[str, str]:
    """Return the `--FIELD VALUE` pairs of a command line in the form that `override` takes.

    Raises:
        ConfigError: an argument is not a field, or a field has no value.
    """
    return dict(_pairs(list(argv)))


def show(text: str) -> None:
    """Print a long text; it is no error if its reader, such as `head` or `less`, closes the pipe early."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the flush at exit would fail again


def fail(message: str) -> NoReturn:
    """End the program with one line on stderr and exit status 2."""
    console.say(f"error: {' '.join(message.splitlines())}")
    raise SystemExit(2)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show the errors that this package raises as one line instead of a traceback, since they are written for users.

    Ctrl-C and SIGTERM also end in one line, with the exit status that shells expect. The last line names the log file,
    if one was started (`console.log_to`).
    """
    with interruptible(), console.logged():
        try:
            yield
        except KeyboardInterrupt as stop:
            console.say(_interrupted(stop))
            raise SystemExit(status()) from None
        except Exception as error:
            if not type(error).__module__.startswith("pipeline."):
                raise
            fail(str(error))


def _interrupted(stop: KeyboardInterrupt) -> str:
    """Return the message that says what an interrupted job has kept, and which command continues it."""
    program, *words = sys.argv
    found = shutil.which(Path(sys.executable).name if program.endswith(".py") else Path(program).name)
    if program.endswith(".py"):
        here = found is not None and Path(found).parent == Path(sys.executable).parent
        begin = [Path(sys.executable).name if here else sys.executable, program]
    else:  # a program with subcommands
        begin, words = [Path(program).name if found == program else program, *words[:1]], words[1:]
    if not isinstance(stop, Interrupted):
        return f"interrupted; this begins again: {shlex.join([*begin, *words])}"
    does = "begins anew" if stop.anew else "goes on"
    return f"interrupted: {stop.stays}; this {does}: {shlex.join([*begin, *(stop.goes_on or words)])}"


def check_fields(kind: type, arguments: Mapping[str, str]) -> None:
    """Check the names and values of a command line before the config that it changes is known.

    Checks that compare several fields are left out, since they depend on the rest of the config.

    Raises:
        ConfigError: a name or value is wrong; the message names the field and what would be right.
    """
    config = kind()
    values = to_dict(config)
    for name, text in arguments.items():
        _set(config, values, name, text)
    check_values(kind, values)


def override(config: T, arguments: Mapping[str, str], change: Change | None = None) -> T:
    """Return a copy of `config` in which the fields with the given dotted names are set from text.

    Raises:
        ConfigError: a name or value is wrong; the message names the field and what would be right.
    """
    values = to_dict(config)
    for name, text in arguments.items():
        _set(config, values, name, text)
    if change is not None:
        change(values, arguments)
    return from_dict(type(config), values)


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield every leaf of the tree as (dotted name, value, documentation)."""
    for name, info in type(config).__pydantic_fields__.items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, info.description or ""


def kind_of(config: Any, name: str) -> Any:
    """Return the type of the field with a dotted name, or of the entries of the table that the name leads into.

    Raises:
        ConfigError: there is no such field.
    """
    *parents, leaf = name.split(".")
    node = config
    for parent in parents:
        kind, node = _annotations(node).get(parent), getattr(node, parent, None)
        if isinstance(node, dict):
            return get_args(kind)[1]
    known = _annotations(node)
    if leaf not in known or dataclasses.is_dataclass(getattr(node, leaf)):
        raise ConfigError(f"--{name}: no such field; {_nearest_field(config, name)}")
    return known[leaf]


def value_of(config: Any, name: str, text: str) -> Any:
    """Return the value that a text gives the field with a dotted name, as the config would hold it.

    Raises:
        ConfigError: see `check_fields`.
    """
    check_fields(type(config), {name: text})
    kind = kind_of(config, name)
    return TypeAdapter(kind).validate_python(_value(name, kind, text))


def help_text(config: Any, recipes: Mapping[str, Callable[[], Any]], doc: str) -> str:
    """Return the text of `--help`: the job, its recipes, and every field with its default in the chosen recipe."""
    names = f"{', '.join(recipes)} (default: {next(iter(recipes))})"
    lines = [doc.strip(), "", "  --recipe NAME", textwrap.indent(textwrap.fill(names, 110), "      ")]
    lines += ["  --config FILE", "      A saved config.yaml instead of a recipe."]
    for name, value, text in fields(config):
        if name == "recipe":  # listed above
            continue
        shown = json.dumps(value) if isinstance(value, str | dict) else _text(value)
        lines += [f"  --{name} (default: {shown})", textwrap.indent(textwrap.fill(text, 110), "      ")]
    return "\n".join(lines)


def _pairs(argv: list[str]) -> Iterator[tuple[str, str]]:
    while argv:
        word = argv.pop(0)
        if word in ("-h", "--help"):
            yield "help", ""
            continue
        if not word.startswith("--"):
            raise ConfigError(f"{word}: expected --FIELD VALUE; --help lists the fields")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not argv:
                raise ConfigError(f"--{name}: needs a value")
            value = argv.pop(0)
        yield name, value


def _base(kind: type[T], recipes: Mapping[str, Callable[[], T]], arguments: dict[str, str]) -> T:
    if "config" in arguments:
        if "recipe" in arguments:
            raise ConfigError("--recipe and --config: give one of them")
        return load(kind, Path(arguments.pop("config")), "--config")
    recipe = arguments.pop("recipe", next(iter(recipes)))
    if recipe not in recipes:
        raise ConfigError(f"--recipe {recipe}: no such recipe; {nearest(recipe, list(recipes))}")
    config = recipes[recipe]()
    return override(config, {"recipe": recipe}) if "recipe" in _annotations(config) else config


def _set(config: Any, values: dict[str, Any], name: str, text: str) -> None:
    """Set one leaf of the nested dicts `values`, which mirror the dataclasses of `config`.

    The entry of a table, such as an axis of a sweep, is removed by an empty text.
    """
    kind, node, place, (*parents, leaf) = kind_of(config, name), config, values, name.split(".")
    for depth, parent in enumerate(parents):
        node, place = getattr(node, parent), place[parent]
        if isinstance(node, dict):
            entry = ".".join([*parents[depth + 1 :], leaf])
            if text:
                place[entry] = _value(name, kind, text)
            else:
                place.pop(entry, None)
            return
    place[leaf] = _value(name, kind, text)


def _annotations(node: Any) -> dict[str, Any]:
    """Return the types of the fields of a config section; empty if the node is not a section."""
    return {name: info.annotation for name, info in getattr(type(node), "__pydantic_fields__", {}).items()}


def _value(name: str, annotation: Any, text: str) -> Any:
    """Convert text to a value of a field's type: `null` to None, `a,b` to a list, YAML such as `{...}` to a dict.

    Other text stays as it is; the config's own validation converts numbers and booleans.
    """
    if annotation is str:
        return text
    if get_origin(annotation) is tuple:
        return [part.strip() for part in text.strip("[]()").split(",") if part.strip()]
    if type(None) in get_args(annotation) and text.lower() in ("none", "null", ""):
        return None
    if get_origin(annotation) is Literal:
        return next((choice for choice in get_args(annotation) if str(choice) == text), text)
    return _yaml(name, text) if annotation is Any or get_origin(annotation) is dict else text


def _yaml(name: str, text: str) -> Any:
    """Parse text as YAML, with `1e-3` as a number as in YAML 1.2; in PyYAML's YAML 1.1 it is a string."""
    try:
        value = plain_yaml.parse(text)
    except yaml.YAMLError:
        raise ConfigError(f"--{name} {text}: not YAML; quote it") from None
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _nearest_field(config: Any, name: str) -> str:
    names = [known for known, _, _ in fields(config)]
    parent, _, leaf = name.rpartition(".")
    tables = [known for known, value, _ in fields(config) if isinstance(value, dict)]
    if near := difflib.get_close_matches(parent, tables, n=1, cutoff=0.8):  # the user chooses the keys of a dict
        return f"did you mean --{near[0]}.{leaf}?"
    same_leaf = [known for known in names if known.rpartition(".")[2] == leaf]
    if same_leaf:
        return f"did you mean --{difflib.get_close_matches(name, same_leaf, n=1, cutoff=0)[0]}?"
    hint = nearest(name, names)
    return hint.replace("did you mean ", "did you mean --") if hint.startswith("did") else "--help lists them all"


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
