"""Search temporal depth x stride x resolution on shards that are there.

python jobs/sweep.py --recipe demo_sweep
python jobs/sweep.py --recipe i3d_sweep --base.storage /data/kinetics --frames 16,32,64 --strides 1,2 --crops 112,224
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.command_line import one_line_errors, parse
from pipeline.config import SweepConfig
from pipeline.recipes import SWEEP
from pipeline.submission import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, search, print the table."""
    with one_line_errors():
        sweep = resolve(parse(SweepConfig, SWEEP, argv, __doc__))
        from pipeline.cluster import connect
        from pipeline.sweeps.search import search
        from pipeline.sweeps.summary import swept

        sweep = replace(sweep, base=connect(sweep.base, trials=sweep.concurrent, section="base."))
        print(swept(sweep, search(sweep)))
