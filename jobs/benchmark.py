"""Measure the pieces on this machine.

    python jobs/benchmark.py flow a.mp4 b.avi
    python jobs/benchmark.py flow a.mp4 --pairs 8 --processes 2 --json flow.json

`flow`: every TV-L1 backend beside OpenCV on the same pairs, at short side 256 and at 224x224.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from pipeline.benchmarks.flow import Figures, compare, scaling
from pipeline.command_line import fail, one_line_errors
from pipeline.reports import table

HEADING = ("clip", "size", "backend", "pairs/s", "x", "mean", "p99", "M/pair", "M/s", "vector %", "memory %", "hours")


def row(figures: Figures) -> list[object]:
    """Figures as a line of the table."""
    name, size, backend, _, pairs, ratio, mean, p99, work, rate, vector, memory, hours = asdict(figures).values()
    shares = [f"{100 * share:.0f}" if share else "" for share in (vector, memory)]
    speed = [f"{pairs:.2f}", f"{ratio:.1f}", f"{mean:.4f}", f"{p99:.4f}", f"{work:.1f}", f"{rate:.0f}"]
    return [name, size, backend, *speed, *shares, f"{hours:.0f}"]


def main(argv: list[str] | None = None) -> None:
    """Parse, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["flow"], help="the piece to measure")
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="video files of any kind")
    parser.add_argument("--pairs", type=int, default=4, help="neighbouring pairs from the middle of each clip")
    parser.add_argument("--repeats", type=int, default=2, help="turns of every backend; the fastest counts")
    parser.add_argument("--processes", type=int, default=1, help="also measure as many processes of cpu at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    arguments = parser.parse_args(argv)
    for clip in arguments.clips:
        if not clip.is_file():
            fail(f"{clip}: no such file")
    with one_line_errors():
        figures = list(compare(arguments.clips, arguments.pairs, arguments.repeats))
        print(table([HEADING, *map(row, figures)]))
        print("  x: times OpenCV; mean, p99: px from OpenCV; M: million pixel-iterations; hours: Kinetics-400")
        if arguments.processes > 1:
            times = scaling(arguments.clips, arguments.pairs, 5 * arguments.repeats, arguments.processes)
            print(f"  {arguments.processes} processes at once: {times:.2f} times one")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(line) for line in figures], indent=2) + "\n")


if __name__ == "__main__":
    main()
