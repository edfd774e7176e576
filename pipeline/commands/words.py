"""The words of a command that has options of its own, where others take the fields of a config."""

import argparse

from pipeline.next_command import command, spoken


def parser(verb: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser that says in `--help` what a command's docstring says, and names the command as it was started."""
    return argparse.ArgumentParser(
        prog=command(verb),
        description=spoken(doc),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
