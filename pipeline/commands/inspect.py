"""Verify a shard set and write its data card.

    video-actions inspect /data/kinetics400/shards --card kinetics400.html
    video-actions inspect s3://bucket/kinetics400 --against s3://bucket/kinetics700 --card kinetics400.html

The card is one HTML page with embedded pictures. The exit status is 1 if the set differs from its manifest. A set of 64
shards or more is verified in Ray tasks, on every node of the cluster that RAY_ADDRESS names or on this machine alone.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.command_line import fail, one_line_errors
from pipeline.commands.words import parser
from pipeline.masking import masked
from pipeline.next_command import command, next_steps


def options() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    words = parser("inspect", __doc__)
    words.add_argument("shards", metavar="SHARDS", help="folder or URI of a shard set")
    words.add_argument("--card", type=Path, metavar="FILE.html", help="write the data card there")
    words.add_argument("--against", metavar="OTHER_SHARDS", help="another set, to look for the same videos in")
    words.add_argument("--no-decode", action="store_true", help="compare bytes with their digests and decode nothing")
    return words


def on_ray(*arguments: Any) -> Iterator[Any]:
    """Check shards in Ray tasks; Ray is imported and started only now, for a set that is worth it."""
    from pipeline.spread import spread

    return spread(*arguments)


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, verify the set, print its problems, and write the card."""
    arguments = options().parse_args(argv)
    if arguments.card and not arguments.card.parent.is_dir():
        fail(f"--card {arguments.card}: no folder {arguments.card.parent}")
    if arguments.card and arguments.card.is_dir():
        fail(f"--card {arguments.card}: a folder; give a file in it, such as {arguments.card / 'card.html'}")
    if arguments.card and not os.access(arguments.card if arguments.card.exists() else arguments.card.parent, os.W_OK):
        fail(f"--card {arguments.card}: may not be written; give a file in another folder")
    with one_line_errors():
        from pipeline.cards import data_card
        from pipeline.shards import overlaps, verify
        from pipeline.shards.summary import inspected, shared, training_words

        pairs = overlaps(arguments.shards, arguments.against) if arguments.against else None
        verification = verify(arguments.shards, decode=not arguments.no_decode, spread=on_ray)
        print(masked(inspected(arguments.shards, verification)))
        if pairs is not None:
            print(masked(shared(arguments.against, pairs)))
        if arguments.card:
            page = data_card(arguments.shards, verification, arguments.against, pairs)
            arguments.card.write_text(page, encoding="utf-8")
            print(f"  data card: {arguments.card}")
    if verification.problems:
        print(next_steps(f"copy {arguments.shards} again from where it is whole, or delete it and ingest again"))
        raise SystemExit(1)
    print(next_steps(command(*training_words(arguments.shards))))
