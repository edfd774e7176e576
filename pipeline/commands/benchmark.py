"""Measure the speed of flow, ingest, loader, shard sets or training on this machine.

    video-actions benchmark flow a.mp4 --pairs 8 --processes 2 --json flow.json
    video-actions benchmark ingest a.mp4 b.avi --clips 32 --seconds 4
    video-actions benchmark loader a.mp4 b.avi --clips 64
    video-actions benchmark sets /data/k400/shards s3://bucket/k400/shards
    video-actions benchmark train --networks i3d,resnet3d18 --batch 24 --json train.json
    video-actions benchmark features a.mp4 b.avi --clips 8 --streams rgb
    video-actions benchmark folds winner.yaml --folds 0,1,2,3,4 --seeds 0,1 --json folds.json

`flow`: every TV-L1 backend against OpenCV on the same pairs of frames, at short side 256 and at 224x224.
`ingest`: each stage; random windows of stored clips; Ray Data against a plain process pool; memory.
`loader`: random windows a second, on one core and on all (there against a torch DataLoader).
`sets`: random windows a second on all cores from complete shard sets: what it costs to train from an object store.
`train`: our training step against a plain PyTorch loop, for each network; on one core if there is no GPU.
`features`: windows a second on Ray, in a process pool, and in a plain loop of PyAV, OpenCV's TV-L1 and the network.
`folds`: accuracy of torchvision's r3d_18 in a plain PyTorch loop, with the clips and steps of a training on one fold.

`ingest` and `loader` also measure decord and torchcodec, each if it is installed (torchcodec: with the version that is
made for the installed torch, and FFmpeg's shared libraries).
"""

import argparse
import json

from pipeline.benchmarks.options import add_pieces
from pipeline.command_line import fail, one_line_errors
from pipeline.commands.words import parser
from pipeline.config import Config
from pipeline.table import shown


def options() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    words = parser("benchmark", __doc__)
    add_pieces(words)
    return words


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, measure, and print the tables."""
    given = options().parse_args(argv)
    for clip in [file for file in getattr(given, "files", ()) if not file.is_file()]:
        fail(f"{clip}: no such file")
    with one_line_errors():
        from pipeline.benchmarks.tables import TABLES, needs_ray
        from pipeline.cluster import connect

        if needs_ray(given):
            connect(Config().resolved(), need_training=False)
        rows = [row for figures, note in TABLES[given.what](given) for row in shown(figures, note)]
        if given.json:
            given.json.write_text(json.dumps(rows, indent=2) + "\n")
