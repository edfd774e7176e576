"""The program `video-actions`, which runs every command of this package."""

import difflib
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from pipeline.command_line import fail
from pipeline.config import nearest
from pipeline.next_command import JOBS, PROGRAM

VERBS = (*JOBS, "completion")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names, with the other arguments."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb == "help":
        verb, rest = (rest[0], ["--help"]) if rest else ("--help", [])
    if verb in ("-h", "--help"):
        print(help_text())
    elif verb == "--version":
        print(f"{PROGRAM} {version('video-action-pipeline')}")
    elif verb not in VERBS:
        fail(f"{verb}: no such command; {_hint(verb)}")
    else:
        importlib.import_module(f"pipeline.commands.{verb}").main(rest)


def help_text() -> str:
    """Return the help text: every command with the first line of its documentation."""
    lines = [f"{PROGRAM}: train, test and use networks that name the actions in videos.", ""]
    for verb in VERBS:
        doc = importlib.import_module(f"pipeline.commands.{verb}").__doc__ or ""
        lines.append(f"  {verb:<12}{doc.splitlines()[0]}")
    last = f"  {PROGRAM} COMMAND --help says what a command takes; {PROGRAM} --version, its version."
    return "\n".join([*lines, "", last])


def _hint(wrong: str) -> str:
    """Suggest the command whose name, or whose job's name, is nearest."""
    names = {**{job: verb for verb, job in JOBS.items()}, **{verb: verb for verb in VERBS}}
    near = difflib.get_close_matches(wrong.replace("-", "_"), names, n=1, cutoff=0.6)
    return nearest(names[near[0]] if near else wrong, list(VERBS))
