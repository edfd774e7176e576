"""Name the actions in videos with a registered model.

video-actions predict clip.mp4
video-actions predict a.mp4 b.avi --model models:/video-i3d-two-stream@champion --tracking http://mlflow:5000
"""

import argparse
from pathlib import Path

from pipeline.command_line import fail, one_line_errors
from pipeline.commands.words import parser
from pipeline.config import Config
from pipeline.table import table


def options() -> argparse.ArgumentParser:
    """What the command takes."""
    words = parser("predict", __doc__)
    words.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files of any kind")
    words.add_argument("--model", default="", help="MLflow model URI; the default is the newest candidate")
    words.add_argument("--tracking", default="", help="MLflow tracking URI; the default is outputs/mlflow.db")
    return words


def main(argv: list[str] | None = None) -> None:
    """Parse, load, print the top five of every video."""
    arguments = options().parse_args(argv)
    for video in arguments.videos:
        if not video.is_file():
            fail(f"{video}: no such file")
    with one_line_errors():
        from pipeline.tracking.registry import load, newest

        tracking = arguments.tracking or Config().resolved().tracking.uri
        uri = arguments.model or newest(tracking)
        model = load(tracking, uri)
        print(f"model {uri}")
        for video in arguments.videos:
            (actions,) = model.predict([video.read_bytes()])
            shares = [f"{100 * share:.1f}" for share in actions.probabilities]
            print(f"{video}\n{table([('action', '%'), *zip(actions.labels, shares, strict=True)])}")
