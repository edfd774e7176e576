"""The part of `predict` that answers for many videos and for long ones, on Ray."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.command_line import check_fields, fail, one_line_errors, overrides
from pipeline.config import Config
from pipeline.next_command import command, next_steps
from pipeline.submission import resolve


def add_options(words: argparse.ArgumentParser) -> None:
    """Add the options that need `--out`."""
    many = words.add_argument_group("many videos, or long ones")
    many.add_argument("--out", default="", metavar="DIR", help="folder or address of the tables; --output csv for CSV")
    many.add_argument("--timeline", action="store_true", help="also say what happens when")
    many.add_argument("--least", type=float, default=0.0, metavar="P", help="timeline: leave out windows below it")
    many.add_argument("--frames", type=int, default=0, help="frames of a window; the default is that of training")
    many.add_argument("--step", type=int, default=0, help="frames between windows; the default is side by side")
    many.add_argument("--crops", type=int, choices=(1, 3, 5, 10), default=1, help="crops of each window")


def predict_many(given: argparse.Namespace, rest: Sequence[str], registry_of: Callable[[str], str]) -> None:
    """Compute the logits of every window, and write the tables.

    Args:
        given: the parsed arguments.
        rest: arguments that set fields of the config.
        registry_of: function from `--tracking` to the URI of the registry.
    """
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        fields = overrides(rest)
        check_fields(Config, fields)
        fields.setdefault("ingest.max_failed", "1")  # a video without an answer costs the others none
        if given.views:
            fail("--views: with --out, windows cover the whole video; give --step N to look at fewer of them")
        from pipeline.cluster import connect
        from pipeline.features import request, run, summary
        from pipeline.features.loading import load_trained
        from pipeline.features.predictions import Asked, write_predictions
        from pipeline.registry.model_versions import newest
        from pipeline.runs.trained_networks import registered
        from pipeline.tracking.outages import check_registry

        registry = registry_of(given.tracking)
        check_registry(registry)
        model = given.model or newest(registry)
        source = registered(registry, model, Path(folder))
        loaded = load_trained(source)
        out = resolve(request.configured(source, fields, given.out)).ingest.shards
        config = resolve(request.configured(source, fields, f"{out}/logits"))
        wanted = request.wanted_of(
            config.clips, config.evaluation, loaded, (given.frames, 0, given.step, "loop"), ["logits"], given.crops
        )
        average = request.average_of(config.evaluation, loaded)
        clips = request.clips_of(config, given.videos, list(fields))
        connect(clips.config, need_training=False)
        with summary.summarised(clips.config.ingest.shards):
            manifest = run.compute_features(clips.config, wanted, loaded, clips.catalog, clips.shards)
        form = "csv" if given.output == "csv" else "parquet"
        asked = Asked(given.top, given.timeline, given.least, average, form)
        drawn = write_predictions(out, clips.config.ingest.shards, loaded.labels, asked)
        print(summary.computed(clips.config.ingest.shards, manifest))
        print(summary.predicted(out, model, form, drawn, manifest["videos"]["present"]))
        print(next_steps(command("predict", "VIDEO", "--model", model)))
    if manifest["videos"]["failed"]:
        raise SystemExit(1)
