"""The options of `jobs/benchmark.py`."""

import argparse
from pathlib import Path

TRAIN = ("i3d", "i3d_resnet50", "resnet3d18", "t3d121")


def add_pieces(whole: argparse.ArgumentParser) -> None:
    """Add a subcommand with its own options for each benchmark."""
    names = ("flow", "ingest", "loader", "sets", "train", "features", "folds")
    pieces = whole.add_subparsers(dest="what", required=True, metavar="{" + ",".join(names) + "}")
    flow, ingest, loader, sets, train, features, folds = (pieces.add_parser(name) for name in names)
    for piece in (flow, ingest, loader, features):
        piece.add_argument("files", nargs="+", type=Path, metavar="CLIP", help="video files of any kind")
    for piece in (flow, ingest):
        piece.add_argument("--pairs", type=int, default=4, help="neighbouring pairs of each clip for flow")
    for piece in (flow, ingest, loader, sets, train, features):
        piece.add_argument("--repeats", type=int, default=2, help="turns of each; the fastest counts")
        piece.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    flow.add_argument("--processes", type=int, default=1, help="also measure as many processes of cpu at once")
    for piece in (ingest, loader, features):
        piece.add_argument("--clips", type=int, default=32, help="clips of a turn; the files take turns")
    ingest.add_argument("--seconds", type=float, default=4.0, help="length of a clip of a turn")
    loader.add_argument("--seconds", type=float, default=4.0, help="length of the clips with flow")
    ingest.add_argument("--lengths", default="", help="only measure memory, on copies of so many seconds: 10,30,60")
    ingest.add_argument("--tiny", type=int, default=3000, help="tiny clips of the run whose memory is measured")
    sets.add_argument(
        "sets", nargs="+", metavar="SHARDS", help="folders or URIs of shard sets; the first is the measure"
    )
    folds.add_argument("config", type=Path, metavar="CONFIG", help="config of a training on one fold, as winner.yaml")
    folds.add_argument("--folds", default="0,1,2,3,4", help="numbers of the folds (%(default)s)")
    folds.add_argument("--seeds", default="0", help="with commas between (%(default)s)")
    folds.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there; the same command continues")
    sets.add_argument("--split", default="train", help="split whose clips are read (%(default)s)")
    sets.add_argument("--windows", type=int, default=256, help="windows of a turn, from all clips in turn")
    sets.add_argument("--frames", type=int, default=16, help="of a window")
    sets.add_argument("--crop", type=int, default=112, help="side of a window in pixels")
    sets.add_argument("--batch", type=int, default=16, help="windows that a task decodes (%(default)s)")
    features.add_argument("--seconds", type=float, default=2.6, help="length of a video of a turn (%(default)s)")
    features.add_argument("--streams", default="rgb,flow", help="rgb, flow or both (%(default)s)")
    features.add_argument("--network", default="i3d", help="the network (%(default)s)")
    features.add_argument("--frames", type=int, default=16, help="frames of a window (%(default)s)")
    features.add_argument("--crop", type=int, default=224, help="side of a crop (%(default)s)")
    features.set_defaults(clips=4, repeats=1)  # with the other defaults, some three minutes on two cores
    train.add_argument("--networks", default=",".join(TRAIN), help="names, with commas between (%(default)s)")
    train.add_argument("--frames", type=int, help="of a clip; the paper's, unless given")
    train.add_argument("--crop", type=int, help="side of a clip; the paper's, unless given")
    train.add_argument("--batch", type=int, default=8, help="clips a step")
    train.add_argument("--steps", type=int, default=10, help="of a turn, behind three that warm up")
    train.add_argument("--precision", default="auto", choices=["auto", "fp32", "tf32", "bf16"], help="of our step")
    train.add_argument("--compile", action="store_true", help="compile the network of our step")
    train.add_argument("--shards", default="", metavar="DIR", help="also train from this shard set, decoding included")
    train.add_argument("--device", default="", help="cuda or cpu; cuda where there is one")
