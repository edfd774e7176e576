"""Export a trained network as torch.export program and ONNX, checked against the original on your clips.

    video-actions export clip.mp4 other.mp4 --model models:/video-i3d-two-stream@candidate --output i3d
    video-actions export folder/of/videos --run RUN --storage /data/k400 --output i3d --stream rgb
    video-actions export clip.mp4 --model models:/video-i3d-two-stream/3 --storage /data/k400 --output i3d --log

The files take uint8 frames, of any batch, length and size where the network does; the last lines of the output say
which. In Python, VideoClassifier.load("i3d")("clip.mp4") needs neither Ray nor MLflow. --log also adds the files to the
registered version. A folder that holds an earlier export is replaced, once the new one is whole and checked.
"""

import argparse
import json
import shlex
import tempfile
from pathlib import Path

from pipeline.command_line import check_fields, fail, one_line_errors, override, overrides
from pipeline.commands.evaluate import find
from pipeline.commands.words import parser
from pipeline.config import Config
from pipeline.masking import masked
from pipeline.next_command import next_steps
from pipeline.submission import resolve

PLACES = ("storage", "tracking.uri")
LOAD = "from pipeline.registry.video_classifier import VideoClassifier; print(VideoClassifier.load({})({}))"


def options() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    words = parser("export", __doc__)
    words.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="clips for the check: files or folders")
    what = words.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="URI", help="of a registered model, such as models:/NAME@ALIAS")
    what.add_argument("--run", metavar="NAME", help="of a training in --storage: its best checkpoints")
    what.add_argument("--checkpoint", metavar="FOLDER", type=Path, help="one checkpoint")
    words.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder to write")
    words.add_argument("--stream", default="", help="rgb or flow: this network alone")
    words.add_argument("--without-onnx", action="store_true", help="write programs alone")
    words.add_argument("--log", action="store_true", help="add the files to the registered version of --model")
    return words


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, find the networks, export and check them, and print what was written."""
    arguments, rest = options().parse_known_args(argv)
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        fields = overrides(rest)
        check_fields(Config, fields)
        if strange := sorted(fields.keys() - set(PLACES)):
            fail(f"--{strange[0]}: export takes a network as it was trained; it takes --{' and --'.join(PLACES)} alone")
        if arguments.log and not arguments.model:
            fail("--log: only a registered model has a version to log to; give --model")
        base = resolve(override(Config(), fields))
        from pipeline.catalog.files import named_videos
        from pipeline.export.run import check_onnx, export
        from pipeline.export.summary import text
        from pipeline.export.version import log_export, version_of
        from pipeline.runs.trained_networks import classifier_of

        if not arguments.without_onnx:
            check_onnx()
        found = [video for given in arguments.videos for video in named_videos(given)]
        if wrong := next((video for video in found if video.problem), None):
            fail(f"{wrong.path}: {wrong.problem}")
        if arguments.log:
            version_of(base.tracking.uri, arguments.model)
        source = find(arguments, base.storage, base.tracking.uri, Path(folder))
        videos = [video.path for video in found]
        done = export(classifier_of(source), source.origin, videos, arguments.output, not arguments.without_onnx)
        print(masked(text(done)))
        if arguments.log:
            print(f"  logged to {log_export(base.tracking.uri, arguments.model, done)}")
        in_python = LOAD.format(json.dumps(str(arguments.output)), json.dumps(videos[0]))
        print(next_steps(shlex.join(["python", "-c", in_python])))
