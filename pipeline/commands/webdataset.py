"""Write a shard set as WebDataset archives, for other trainers.

    video-actions webdataset /data/k400/shards/kinetics400 --output /data/k400/tars
    video-actions webdataset s3://bucket/kinetics400 --output s3://bucket/tars --without-flow

Each shard becomes a tar with the members KEY.mp4, KEY.flow.mp4, KEY.cls, KEY.txt and KEY.json for each clip. The bytes
of the videos are those of the set. If it is interrupted, the same command continues.
"""

import argparse

from pipeline.command_line import one_line_errors
from pipeline.commands.words import parser
from pipeline.masking import masked
from pipeline.next_command import command, next_steps


def options() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    words = parser("webdataset", __doc__)
    words.add_argument("shards", metavar="SHARDS", help="folder or URI of a shard set")
    words.add_argument("--output", metavar="DIR", required=True, help="folder or URI for the archives")
    words.add_argument("--without-flow", action="store_true", help="write RGB alone")
    return words


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, write the archives, and print what was written."""
    arguments = options().parse_args(argv)
    with one_line_errors():
        from pipeline.shards.webdataset import write_webdataset
        from pipeline.table import table

        shards, folder = arguments.shards.rstrip("/"), arguments.output.rstrip("/")
        done = write_webdataset(shards, folder, not arguments.without_flow)
        splits = dict.fromkeys(name.partition("/")[0] for name in done)
        rows: list[tuple[object, ...]] = [("split", "archives", "clips")]
        for split in splits:
            counts = [count for name, count in done.items() if name.partition("/")[0] == split]
            rows.append((split, len(counts), sum(counts)))
        print(masked(f"written to {folder}\n{table(rows)}"))
        places = [word for split in splits for word in (f"--catalog.archives.{split}", f"{folder}/{split}")]
        print(next_steps(command("ingest", "--catalog.dataset", "webdataset", *places, "--storage", "STORAGE")))
