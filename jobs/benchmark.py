"""Measure the pieces on this machine.

    python jobs/benchmark.py flow a.mp4 --pairs 8 --processes 2 --json flow.json
    python jobs/benchmark.py ingest a.mp4 b.avi --clips 32 --seconds 4
    python jobs/benchmark.py loader a.mp4 b.avi --clips 64

`flow`: every TV-L1 backend beside OpenCV on the same pairs, at short side 256 and at 224x224.
`ingest`: each stage of a clip; windows of what is stored; Ray Data beside a bare pool of processes; memory.
`loader`: random windows a second and core, and of the whole machine, beside decord in a torch DataLoader.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.benchmarks.tables import TABLES
from pipeline.cluster import connect
from pipeline.command_line import fail, one_line_errors
from pipeline.config import Config
from pipeline.reports import table


def show(figures: Iterable[Any], note: str) -> list[dict[str, Any]]:
    """Print figures as a table, with a line on what its columns are."""
    rows = [asdict(line) for line in figures]
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else cell or "" for cell in row.values()] for row in rows]
    print(f"{table([[name.replace('_', ' ') for name in rows[0]], *cells])}\n  {note}\n", flush=True)
    return rows


def main(argv: list[str] | None = None) -> None:
    """Parse, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*TABLES], help="the piece to measure")
    parser.add_argument("files", nargs="+", type=Path, metavar="CLIP", help="video files of any kind")
    parser.add_argument("--pairs", type=int, default=4, help="neighbouring pairs of each clip for flow")
    parser.add_argument("--repeats", type=int, default=2, help="turns of each; the fastest counts")
    parser.add_argument("--processes", type=int, default=1, help="flow: also measure as many processes of cpu at once")
    parser.add_argument("--clips", type=int, default=32, help="ingest, loader: clips of a turn; the files take turns")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="length of an ingest turn's clips, and of loader's clips with flow"
    )
    parser.add_argument("--tiny", type=int, default=3000, help="ingest: tiny clips of the run whose memory is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    given = parser.parse_args(argv)
    for clip in [file for file in given.files if not file.is_file()]:
        fail(f"{clip}: no such file")
    with one_line_errors():
        if given.what != "flow":
            connect(Config().resolved(), need_training=False)
        rows = [row for figures, note in TABLES[given.what](given) for row in show(figures, note)]
        if given.json:
            given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
