"""Compute features of any amount of video with any network: a vector or map for each window.

video-actions extract VIDEOS --out DIR --model models:/video-i3d-two-stream@candidate
video-actions extract VIDEOS --out DIR --model.name i3d --model.weights.rgb rgb_imagenet.pt --step 16 --ends pad
video-actions extract VIDEOS --out DIR --run RUN --crops 10 --form npy --layers Mixed_5c
video-actions extract SHARDS --out DIR --checkpoint runs/RUN/rgb/checkpoint_0
video-actions extract --catalog.dataset ucf101 --catalog.videos UCF-101 --catalog.annotations.splits LISTS --out DIR ...

VIDEOS are files, folders, archives (.tar, .tar.gz), addresses (https, s3, gs, az), or text files with one of these a
line. SHARDS is a complete shard set, which has its flow already. All other settings are those of the network; --FIELD
VALUE changes one of them, such as --ingest.fps, --clips.crop or --resources.ingest_cpus. If the run is interrupted, the
same command continues. --plan prints what would be done, and does nothing.
"""

import argparse
import tempfile
from pathlib import Path

from pipeline.command_line import check_fields, fail, one_line_errors, override, overrides, planning
from pipeline.commands.evaluate import find
from pipeline.commands.words import add_trained, parsed, parser
from pipeline.config import Config
from pipeline.next_command import command, next_steps
from pipeline.submission import resolve

ENDS, FORMS = ("drop", "pad", "loop", "centred"), ("parquet", "npy", "npy_joined", "npz")


def options() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    words = parser("extract", __doc__)
    words.add_argument(
        "videos", nargs="*", metavar="VIDEOS", help="files, folders, archives, addresses, lists, or a shard set"
    )
    words.add_argument("--out", default="", metavar="DIR", help="folder or address of the features")
    add_trained(words.add_mutually_exclusive_group())
    words.add_argument("--stream", default="", help="rgb or flow: this network alone")
    words.add_argument("--frames", type=int, default=0, help="frames of a window; the default is that of training")
    words.add_argument("--stride", type=int, default=0, help="step between them; the default is that of training")
    words.add_argument("--step", type=int, default=0, help="frames between windows; the default is side by side")
    words.add_argument("--ends", choices=ENDS, default="drop", help="what is done where the video has no frames")
    words.add_argument("--layers", default="avg_pool", metavar="NAME,NAME", help="the default is avg_pool")
    words.add_argument("--list-layers", action="store_true", help="only show the layers of the network")
    words.add_argument("--pool", choices=("mean", "none"), default="mean", help="none keeps time and space")
    words.add_argument("--crops", type=int, choices=(1, 3, 5, 10), default=1, help="crops of each window")
    words.add_argument("--form", choices=FORMS, default="parquet", help="one table, or files for each video")
    words.add_argument("--batch", type=int, default=8, help="views that a GPU takes at once; the default is 8")
    return words


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, load the networks, compute the features, and print what was made."""
    words, plan = planning(argv)
    given, rest = parsed(options(), words)
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        fields = overrides(rest)
        if "recipe" in fields:
            fail("--recipe: a trained network brings its own config; set single fields of it")
        check_fields(Config, fields)
        if not given.out and not given.list_layers:
            fail("--out: give the folder of the features")
        base = resolve(override(Config(), {key: fields[key] for key in fields if key in ("storage", "tracking.uri")}))
        from pipeline.cluster import connect
        from pipeline.features import request, run, summary
        from pipeline.features.loading import load_named, load_trained

        shards = [fields.pop("ingest.shards")] if "ingest.shards" in fields else []
        trained = given.model or given.run or given.checkpoint
        source = find(given, base.storage, base.tracking.uri, Path(folder)) if trained else None
        config = resolve(request.configured(source, fields, given.out))
        loaded = load_trained(source) if source else load_named(config.model)
        cut = (given.frames, given.stride, given.step, given.ends)
        layers = [name for name in given.layers.split(",") if name]
        kept = (given.crops, given.pool, given.form, given.batch)
        wanted = request.wanted_of(config.clips, config.evaluation, loaded, cut, layers, *kept)
        if given.list_layers:
            print(summary.layer_table(loaded.shapes(wanted.windows, config.clips)))
            return
        clips = request.clips_of(config, [*given.videos, *shards], list(fields), plan)
        if plan:
            columns, ingest = run.columns_of(loaded, wanted, clips.config.clips), clips.config.ingest
            print(summary.planned(wanted, columns, ingest, clips.catalog))
            print(next_steps(command("extract", *words)))
            return
        connect(clips.config, need_training=False)
        with summary.summarised(clips.config.ingest.shards):
            manifest = run.compute_features(clips.config, wanted, loaded, clips.catalog, clips.shards)
        print(summary.computed(clips.config.ingest.shards, manifest))
        print(next_steps(summary.reading(clips.config.ingest.shards, manifest)))
