"""The argument parser of commands that have their own options instead of the fields of a config."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.next_command import command, spoken


def parser(verb: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose `--help` prints the command's docstring and names the command as it was started."""
    return argparse.ArgumentParser(
        prog=command(verb),
        description=spoken(doc),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_trained(what: argparse._ActionsContainer) -> None:
    """Add the options that name trained networks."""
    what.add_argument("--model", metavar="URI", help="of a registered model, such as models:/NAME@ALIAS")
    what.add_argument("--run", metavar="NAME", help="of a training in --storage: its best checkpoints")
    what.add_argument("--checkpoint", metavar="FOLDER", type=Path, help="one checkpoint")


def parsed(words: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the parsed options, and the arguments that set fields of the config: `--FIELD VALUE` or `--FIELD=VALUE`.

    `parse_known_args` would take the values of fields for files.
    """
    own, fields, left = list[str](), list[str](), list(argv)
    while left:
        word = left.pop(0)
        if word.startswith("--") and word.partition("=")[0] not in words._option_string_actions and word != "--":
            fields.append(word)
            fields += [left.pop(0)] if "=" not in word and left else []
        else:
            own.append(word)
    return words.parse_intermixed_args(own), fields


def file_word(word: str) -> str:
    """Return a command-line argument with ./ before a file name that begins with dashes, as YouTube ids may."""
    section, dot, _ = word.removeprefix("--").partition("=")[0].partition(".")
    if word in ("-", "--", "-h") or word[1:].isdecimal() or not word.startswith("-"):
        return word
    if word.startswith("--") and not Path(word).exists():
        from pipeline.config import Config  # an option of another command, such as --training.epochs, is no file

        return word if not dot or section in Config.__dataclass_fields__ else f"./{word}"
    return f"./{word}"
