"""Name the actions in videos with a registered model.

video-actions predict clip.mp4
video-actions predict folder/of/videos --top 3 --output csv > actions.csv
video-actions predict a.mp4 b.avi --model models:/video-i3d-two-stream@champion --tracking http://mlflow:5000
video-actions predict VIDEOS --out DIR --timeline

A folder stands for all videos in it and its subfolders. If a video cannot be read, or is not there, the others are
still classified; the exit status is then 1. --views 3 classifies three windows of each video instead of all that the
model's test uses, which is faster for long videos. --tracking takes an address, a storage folder, or its mlflow.db.

With --out, any number of videos of any length are done on Ray, window by window, also addresses and lists of names (a
.txt file). DIR then has a table of the likeliest actions, and with --timeline also what happens when, and a picture.
"""

import argparse
import getpass
import sys
from pathlib import Path

from pipeline.command_line import fail, one_line_errors
from pipeline.commands.many_videos import add_options, predict_many
from pipeline.commands.words import file_word, parsed, parser
from pipeline.escaping import MESSAGE, one_line
from pipeline.sqlite import address_of


def options() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    words = parser("predict", __doc__)
    words.add_argument("videos", nargs="+", metavar="VIDEO", help="video files of any kind, or folders")
    words.add_argument("--model", default="", help="MLflow model URI; the default is the newest candidate")
    words.add_argument("--tracking", default="", help="MLflow tracking URI; the default is outputs/mlflow.db")
    words.add_argument("--top", type=int, default=5, help="actions of each video; the default is 5")
    words.add_argument("--views", type=int, default=0, help="windows of each video; the default is those of the test")
    words.add_argument("--output", choices=["table", "json", "csv"], default="table", help="form of the answers")
    add_options(words)
    return words


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, load the model, and print the likeliest actions of each video as soon as they are known."""
    words = [file_word(word) for word in (sys.argv[1:] if argv is None else argv)]
    if any(word.partition("=")[0] == "--out" for word in words):
        predict_many(*parsed(options(), words), _registry)
        return
    arguments = options().parse_args(words)
    with one_line_errors():
        from pipeline.catalog.files import named_videos

        found = [video for given in arguments.videos for video in named_videos(given)]
        if all(video.problem for video in found):
            fail(f"{found[0].path}: {found[0].problem}")
        from pipeline.registry.model_versions import author, load_classifier, newest
        from pipeline.registry.summary import about_code, text
        from pipeline.registry.video_classifier import Actions, Asked
        from pipeline.tracking.outages import check_registry

        asked, registry = Asked(arguments.top, arguments.views), _registry(arguments.tracking)
        check_registry(registry)
        model = arguments.model or newest(registry)
        if (whose := author(registry, model)) != getpass.getuser():
            print(about_code(model, whose), file=sys.stderr)
        classifier = load_classifier(registry, model)
        print(f"model {model}", file=sys.stdout if arguments.output == "table" else sys.stderr)
        answers = classifier.classify((Path(video.path) for video in found if not video.problem), asked)
        failed = 0
        for number, (path, problem) in enumerate(found, 1):
            actions = Actions(labels=[], probabilities=[], error=problem) if problem else next(answers)
            name = path.encode(errors="backslashreplace").decode()  # a name need not be UTF-8
            if actions.error:
                print(one_line(f"error: {name}: {actions.error}", MESSAGE), file=sys.stderr)
                failed += 1
            if shown := text(arguments.output, name, actions, number, len(found)):
                print(shown, flush=True)
    if failed:
        raise SystemExit(1)


def _registry(tracking: str) -> str:
    """Return the URI of the registry; a path to a file means a SQLite database, and that of a folder the one in it."""
    given = Path(tracking or "outputs").absolute()
    if tracking and not given.exists():
        return tracking
    return address_of(given if given.is_file() else given / "mlflow.db")
