"""Print a script with which a shell completes commands, recipes, fields and their values.

    video-actions completion bash > ~/.local/share/bash-completion/completions/video-actions
    video-actions completion zsh > ~/.zfunc/_video-actions          # a folder of $fpath
    video-actions completion fish > ~/.config/fish/completions/video-actions.fish

For the current shell only: source <(video-actions completion bash). The script holds all names and values, so that no
program is started while you type; print it again after an update.
"""

import argparse
from collections.abc import Sequence

from pipeline.commands.options import SHELLS, commands
from pipeline.commands.shells import SCRIPTS
from pipeline.commands.words import parser


def options() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    words = parser("completion", __doc__)
    words.add_argument("shell", choices=SHELLS, help="the shell that is to complete")
    return words


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and print the script."""
    print(SCRIPTS[options().parse_args(argv).shell](commands()))
