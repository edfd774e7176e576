"""Measure the pieces on this machine.

    python jobs/benchmark.py flow a.mp4 --pairs 8 --processes 2 --json flow.json
    python jobs/benchmark.py ingest a.mp4 b.avi --clips 32 --seconds 4
    python jobs/benchmark.py train --networks i3d,resnet3d18 --batch 24 --json train.json

`flow`: every TV-L1 backend beside OpenCV on the same pairs, at short side 256 and at 224x224.
`ingest`: each stage of a clip; windows of what is stored; Ray Data beside a bare pool of processes; memory.
`train`: our training step of each network beside a plain PyTorch loop over it; one core, where there is no GPU.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pipeline.benchmarks import devices, flow, ingest, throughput, train
from pipeline.benchmarks.options import parser
from pipeline.cluster import connect
from pipeline.command_line import fail, one_line_errors
from pipeline.config import Config, IngestConfig, TrainingConfig
from pipeline.reports import shown


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
    files, config, turns = given.files, IngestConfig(), given.repeats
    rows = shown(ingest.stage_costs(files, config, given.pairs, turns), "frames or pairs a second; share in %")
    rows += shown(ingest.access(files, config, 64, 8, turns), "windows of so many frames a second; kB a frame")
    connect(Config().resolved(), need_training=False)
    clips = throughput.copies(files, given.clips, given.seconds)
    with tempfile.TemporaryDirectory() as folder:
        for chosen in (IngestConfig(streams=("rgb",)), config):
            rows += shown([throughput.compare(chosen, clips, Path(folder), turns)], "clips a second")
        rate, quarters = throughput.memory(given.tiny, Path(folder))
    return rows + shown(quarters, f"{given.tiny} clips of 8 frames of 32x32, {rate:.1f} a second; memory in MB")


def measure_train(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Training steps; with a shard set, the loader before them."""
    names = given.networks.split(",")
    training = TrainingConfig(precision=given.precision, compile=given.compile)
    setting = train.Setting(given.frames, given.crop, given.batch, given.steps, given.repeats, training)
    device = devices.device_of(given.device)
    peaks = devices.peaks(device)
    note = f"ratio: times eager fp32; mfu: % of {devices.described(device, peaks)}"
    rows = shown(train.compare(names, setting, device, max(peaks.values())), note)
    if given.shards:
        connect(Config().resolved(), need_training=False)
        note = "from shards; data wait: % of the time in which the device had nothing to do"
        rows += shown([train.supply(name, setting, given.shards, device) for name in names], note)
    return rows


def main(argv: list[str] | None = None) -> None:
    """Parse, measure, print the tables."""
    given = parser(__doc__).parse_args(argv)
    for clip in [file for file in getattr(given, "files", ()) if not file.is_file()]:
        fail(f"{clip}: no such file")
    with one_line_errors():
        figures = {"flow": measure_flow, "ingest": measure_ingest, "train": measure_train}[given.what](given)
        if given.json:
            given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
