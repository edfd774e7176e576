"""The argument parser of commands that have their own options instead of the fields of a config."""

import argparse

from pipeline.next_command import command, spoken


def parser(verb: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose `--help` prints the command's docstring and names the command as it was started."""
    return argparse.ArgumentParser(
        prog=command(verb),
        description=spoken(doc),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
