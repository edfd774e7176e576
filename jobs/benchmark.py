"""Measure the pieces on this machine.

    python jobs/benchmark.py flow a.mp4 --pairs 8 --processes 2 --json flow.json
    python jobs/benchmark.py ingest a.mp4 b.avi --clips 32 --seconds 4

`flow`: every TV-L1 backend beside OpenCV on the same pairs, at short side 256 and at 224x224.
`ingest`: each stage of a clip; windows of what is stored; Ray Data beside a bare pool of processes; memory.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.benchmarks import flow, ingest, throughput
from pipeline.cluster import connect
from pipeline.command_line import fail, one_line_errors
from pipeline.config import Config, IngestConfig
from pipeline.reports import table


def shown(figures: Iterable[Any], note: str) -> list[dict[str, Any]]:
    """Print figures as a table, with a line on what its columns are."""
    rows = [asdict(line) for line in figures]
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else cell or "" for cell in row.values()] for row in rows]
    print(f"{table([[name.replace('_', ' ') for name in rows[0]], *cells])}\n  {note}\n", flush=True)
    return rows


def measure_flow(given: argparse.Namespace) -> list[dict[str, Any]]:
    """TV-L1 on every backend."""
    note = "ratio: times OpenCV; mean, p99: px from OpenCV; iterations: of pixels, in millions; hours: Kinetics-400"
    rows = shown(flow.compare(given.files, given.pairs, given.repeats), note)
    if given.processes > 1:
        times = flow.scaling(given.files, given.pairs, 5 * given.repeats, given.processes)
        print(f"  {given.processes} processes at once: {times:.2f} times one")
    return rows


def measure_ingest(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Stages, windows, throughput, memory."""
    rows = shown(ingest.stage_costs(given.files, IngestConfig(), given.pairs), "frames or pairs a second; share in %")
    rows += shown(ingest.access(given.files, IngestConfig(), 64, 8), "windows of so many frames a second; kB a frame")
    connect(Config().resolved(), need_training=False)
    clips = throughput.copies(given.files, given.clips, given.seconds)
    with tempfile.TemporaryDirectory() as folder:
        for config in (IngestConfig(streams=("rgb",)), IngestConfig()):
            rows += shown([throughput.compare(config, clips, Path(folder), given.repeats)], "clips a second")
        rate, quarters = throughput.memory(given.tiny, Path(folder))
    return rows + shown(quarters, f"{given.tiny} clips of 8 frames of 32x32, {rate:.1f} a second; memory in MB")


def main(argv: list[str] | None = None) -> None:
    """Parse, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["flow", "ingest"], help="the piece to measure")
    parser.add_argument("files", nargs="+", type=Path, metavar="CLIP", help="video files of any kind")
    parser.add_argument("--pairs", type=int, default=4, help="neighbouring pairs of each clip for flow")
    parser.add_argument("--repeats", type=int, default=2, help="turns of each; the fastest counts")
    parser.add_argument("--processes", type=int, default=1, help="flow: also measure as many processes of cpu at once")
    parser.add_argument("--clips", type=int, default=32, help="ingest: clips of a turn; the files take turns")
    parser.add_argument("--seconds", type=float, default=4.0, help="ingest: length of a clip of a turn")
    parser.add_argument("--tiny", type=int, default=3000, help="ingest: tiny clips of the run whose memory is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    given = parser.parse_args(argv)
    for clip in given.files:
        if not clip.is_file():
            fail(f"{clip}: no such file")
    with one_line_errors():
        figures = {"flow": measure_flow, "ingest": measure_ingest}[given.what](given)
        if given.json:
            given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
