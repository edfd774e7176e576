"""Test a trained network under any published protocol, or fuse stored scores.

    video-actions evaluate --model models:/video-i3d-two-stream@candidate --storage /data/k400
    video-actions evaluate --run RUN --storage /data/k400 --evaluation.protocol views --evaluation.views 10
    video-actions evaluate --checkpoint runs/RUN/rgb/checkpoint_0 --ingest.shards /data/k400/shards/kinetics400
    video-actions evaluate --fuse A/scores.parquet B/scores.parquet --weights 1,1.5 --average softmax

All other settings come from the config with which the network was trained; --FIELD VALUE changes one of them, such as
--evaluation.split, --evaluation.protocol, --evaluation.batch_size, --ingest.shards, --resources.workers.
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.command_line import check_fields, fail, one_line_errors, override, overrides
from pipeline.commands.pages import pages
from pipeline.commands.words import add_trained, parser
from pipeline.config import Config
from pipeline.masking import masked
from pipeline.next_command import command, next_steps
from pipeline.submission import resolve

if TYPE_CHECKING:
    from pipeline.runs.trained_networks import Source


def options() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    words = parser("evaluate", __doc__)
    what = words.add_mutually_exclusive_group(required=True)
    add_trained(what)
    what.add_argument("--fuse", metavar="SCORES", nargs="+", help="scores.parquet files of earlier tests")
    words.add_argument("--stream", default="", help="rgb or flow: this network alone")
    words.add_argument("--average", choices=("logits", "softmax"), default="logits", help="what a fusion averages")
    words.add_argument("--weights", default="", metavar="W,W", help="of each stream in a fusion; equal by default")
    return words


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, find the networks, test them, and print their accuracy."""
    arguments, rest = options().parse_known_args(argv)
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        fields = overrides(rest)
        if "recipe" in fields:
            fail("--recipe: a trained network brings its own config; set single fields of it")
        check_fields(Config, fields)
        base = resolve(override(Config(), {key: fields[key] for key in fields.keys() & {"storage", "tracking.uri"}}))
        from pipeline.cluster import connect
        from pipeline.runs.evaluate import fuse_scores, score_networks
        from pipeline.runs.summary import evaluated

        if arguments.fuse:
            try:
                weights = [float(weight) for weight in arguments.weights.split(",") if weight]
            except ValueError:
                fail(f"--weights {arguments.weights}: not numbers with commas between")
            config = resolve(override(base, fields))
            result = fuse_scores(config.storage, config.tracking, arguments.fuse, arguments.average, weights)
        else:
            source = find(arguments, base.storage, base.tracking.uri, Path(folder))
            if arguments.model:
                fields.setdefault("tracking.uri", base.tracking.uri)
            config = connect(resolve(override(source.config, fields)))
            result = score_networks(config, source)
        print(masked(evaluated(result)))
        place = ("--storage", config.storage, "--tracking.uri", config.tracking.uri)
        fuse = command("evaluate", "--fuse", result.path, "OTHER/scores.parquet", *place)
        print(next_steps(*pages(result.run), fuse))


def find(arguments: argparse.Namespace, storage: str, tracking_uri: str, folder: Path) -> "Source":
    """Return the networks that the command line names.

    They are of a model in the registry at `tracking_uri`, which is downloaded to `folder`, of a run in `storage`, or of
    a checkpoint.
    """
    from pipeline.runs.trained_networks import checkpointed, registered, trained_run

    if arguments.model:
        return registered(tracking_uri, arguments.model, folder, arguments.stream)
    if arguments.run:
        return trained_run(storage, arguments.run, arguments.stream)
    return checkpointed(arguments.checkpoint, arguments.stream)
