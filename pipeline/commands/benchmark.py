"""Measure the pieces on this machine.

    python jobs/benchmark.py flow a.mp4 --pairs 8 --processes 2 --json flow.json
    python jobs/benchmark.py ingest a.mp4 b.avi --clips 32 --seconds 4
    python jobs/benchmark.py loader a.mp4 b.avi --clips 64
    python jobs/benchmark.py train --networks i3d,resnet3d18 --batch 24 --json train.json

`flow`: every TV-L1 backend beside OpenCV on the same pairs, at short side 256 and at 224x224.
`ingest`: each stage of a clip; windows of what is stored; Ray Data beside a bare pool of processes; memory.
`loader`: random windows a second and core, and of the whole machine, beside decord in a torch DataLoader.
`train`: our training step of each network beside a plain PyTorch loop over it; one core, where there is no GPU.
"""

import json

from pipeline.benchmarks.options import parser
from pipeline.command_line import fail, one_line_errors
from pipeline.config import Config
from pipeline.table import shown


def main(argv: list[str] | None = None) -> None:
    """Parse, measure, print the tables."""
    given = parser(__doc__).parse_args(argv)
    for clip in [file for file in getattr(given, "files", ()) if not file.is_file()]:
        fail(f"{clip}: no such file")
    with one_line_errors():
        from pipeline.benchmarks.tables import TABLES, needs_ray
        from pipeline.cluster import connect

        if needs_ray(given):
            connect(Config().resolved(), need_training=False)
        rows = [row for figures, note in TABLES[given.what](given) for row in shown(figures, note)]
        if given.json:
            given.json.write_text(json.dumps(rows, indent=2) + "\n")
