"""Search temporal depth x stride x resolution on an existing shard set.

video-actions sweep --recipe demo_sweep
video-actions sweep --recipe i3d_sweep --base.storage /data/kinetics --frames 16,32,64 --strides 1,2 --crops 112,224
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.command_line import given, one_line_errors, parse
from pipeline.commands.pages import pages
from pipeline.config import SweepConfig, from_dict, to_dict
from pipeline.masking import masked
from pipeline.next_command import command, next_steps, spoken
from pipeline.recipes import SWEEP
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, run the trials, and print the table."""
    with one_line_errors():
        sweep = resolve(parse(SweepConfig, SWEEP, argv, spoken(__doc__)))
        from pipeline.cluster import connect
        from pipeline.ingest.stored import is_alone, with_stored
        from pipeline.sweeps.search import keep_winner, search
        from pipeline.sweeps.summary import swept

        words = given(argv)
        if is_alone(sweep.base, words, "base."):
            stored = with_stored(sweep.base, words, "base.")
            sweep = from_dict(SweepConfig, {**to_dict(sweep), "base": to_dict(stored)})
        fitted = replace(sweep, base=connect(sweep.base, trials=sweep.concurrent, section="base."))
        result = search(fitted)
        print(masked(swept(fitted, result)))
        winner = keep_winner(sweep.base, result)
        if "://" in winner:
            print(next_steps(*pages(result.run), f"fetch {winner}", command("pretrain", "--config", "winner.yaml")))
        else:
            print(next_steps(*pages(result.run), command("pretrain", "--config", winner)))
