"""Search any fields of a config on an existing shard set: depth, resolution, network, learning rate, seeds.

video-actions sweep --recipe demo_sweep
video-actions sweep --recipe i3d_sweep --base.storage /data/kinetics --axes.clips.frames 16,32,64 --axes.seed 0,1,2
video-actions sweep --recipe demo_sweep --sampler tpe --points 20 --axes.optimiser.lr "loguniform(1e-4,1e-1)"
video-actions sweep --recipe demo_sweep --plan          # trials, their cost, what does not fit; nothing is trained

The driver may be killed at any time: the same command continues.
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.command_line import fail, given, one_line_errors, parse, planning
from pipeline.commands.pages import pages
from pipeline.config import SweepConfig
from pipeline.masking import masked
from pipeline.next_command import command, next_steps, spoken
from pipeline.recipes import SWEEP
from pipeline.submission import resolve

REPLACED = {
    "frames": "--axes.clips.frames",
    "strides": "--axes.clips.stride",
    "crops": "--axes.clips.crop",
    "stream": "--base.model.streams",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, run the trials, and print the table."""
    words, plan = planning(argv)
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in REPLACED:
            fail(f"--{name}: any field is an axis now; give {REPLACED[name]} {value or 'VALUES'}")
    with one_line_errors():
        sweep = resolve(parse(SweepConfig, SWEEP, words, spoken(__doc__)))
        from pipeline.cluster import connect
        from pipeline.experiments.space import on_first_set, sets_of
        from pipeline.experiments.summary import swept
        from pipeline.experiments.sweep import run_sweep
        from pipeline.ingest.stored import is_alone, with_stored

        sweep = on_first_set(sweep)
        if sets_of(sweep) or is_alone(sweep.base, given(words), "base."):
            sweep = replace(sweep, base=with_stored(sweep.base, given(words), "base."))
        if plan:
            from pipeline.experiments.plan import planned

            print(masked(planned(sweep)))
            print(next_steps(command("sweep", *words)))
            return
        connect(sweep.base, trials=sweep.concurrent, section="base.")
        result = run_sweep(sweep)
        print(masked(swept(result)))
        winner, tracking = f"{result.folder}/winner.yaml", sweep.base.tracking
        if result.version is not None:
            model = f"models:/{tracking.registered_model}@{tracking.alias}"
            then = [command("predict", "VIDEO", "--model", model, "--tracking", tracking.uri)]
        elif not result.best:
            then = []
        elif "://" in winner:
            then = [f"fetch {winner}", command("pretrain", "--config", "winner.yaml")]
        else:
            then = [command("pretrain", "--config", winner)]
        print(next_steps(*pages(result.run), *then))
