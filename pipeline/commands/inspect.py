"""Verify a shard set and write its data card.

    python jobs/inspect_shards.py /data/kinetics400/shards --card kinetics400.html
    python jobs/inspect_shards.py s3://bucket/kinetics400 --against s3://bucket/kinetics700 --card kinetics400.html

The card is one HTML page with its pictures inside. The exit status is 1 where the set is not what its manifest says.
"""

import argparse
from pathlib import Path

from pipeline.command_line import fail, one_line_errors


def main(argv: list[str] | None = None) -> None:
    """Parse, verify, print what is wrong, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", metavar="SHARDS", help="folder or URI of a shard set")
    parser.add_argument("--card", type=Path, metavar="FILE.html", help="write the data card there")
    parser.add_argument("--against", metavar="OTHER_SHARDS", help="another set, to look for the same videos in")
    parser.add_argument("--no-decode", action="store_true", help="compare bytes with their digests and decode nothing")
    arguments = parser.parse_args(argv)
    if arguments.card and not arguments.card.parent.is_dir():
        fail(f"--card {arguments.card}: no folder {arguments.card.parent}")
    with one_line_errors():
        from pipeline.cards import data_card
        from pipeline.shards import overlaps, verify
        from pipeline.shards.summary import inspected, shared

        pairs = overlaps(arguments.shards, arguments.against) if arguments.against else None
        verification = verify(arguments.shards, decode=not arguments.no_decode)
        print(inspected(arguments.shards, verification))
        if pairs is not None:
            print(shared(arguments.against, pairs))
        if arguments.card:
            page = data_card(arguments.shards, verification, arguments.against, pairs)
            arguments.card.write_text(page, encoding="utf-8")
            print(f"  data card: {arguments.card}")
    print("\nnext:")
    if verification.problems:
        print(f"  copy {arguments.shards} again from where it is whole, or delete it and run jobs/ingest.py again")
        raise SystemExit(1)
    print(f"  python jobs/pretrain_kinetics.py --ingest.shards {arguments.shards} ...")
