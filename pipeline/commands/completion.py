"""Print what lets a shell complete commands, recipes, fields and their values.

    video-actions completion bash > ~/.local/share/bash-completion/completions/video-actions
    video-actions completion zsh > ~/.zfunc/_video-actions          # a folder of $fpath
    video-actions completion fish > ~/.config/fish/completions/video-actions.fish

For this shell alone: source <(video-actions completion bash). The text holds all it needs, so that nothing is started
while you type; print it anew for another version.
"""

import argparse
from collections.abc import Sequence

from pipeline.commands.options import SHELLS, commands
from pipeline.commands.shells import SCRIPTS
from pipeline.commands.words import parser


def options() -> argparse.ArgumentParser:
    """What the command takes."""
    words = parser("completion", __doc__)
    words.add_argument("shell", choices=SHELLS, help="the shell that is to complete")
    return words


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, print the script."""
    print(SCRIPTS[options().parse_args(argv).shell](commands()))
