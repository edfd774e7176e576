"""The tables that each benchmark prints, each with a note that explains its columns."""

import tempfile
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pipeline.benchmarks import (
    all_cores,
    devices,
    features,
    flow,
    folds,
    ingest,
    loader,
    long_clips,
    peer,
    throughput,
    train,
)
from pipeline.config import ClipsConfig, IngestConfig, TrainingConfig

Tables = Iterator[tuple[Iterable[Any], str]]


def of_flow(given: Namespace) -> Tables:
    """Measure TV-L1 on every backend."""
    note = "ratio: times OpenCV; mean, p99: px from OpenCV; iterations: of pixels, in millions; hours: Kinetics-400"
    yield flow.compare(given.files, given.pairs, given.repeats), note
    if given.processes > 1:
        times = flow.scaling(given.files, given.pairs, 5 * given.repeats, given.processes)
        print(f"  {given.processes} processes at once: {times:.2f} times one")


def of_ingest(given: Namespace) -> Tables:
    """Measure stages, windows, throughput and memory; Ray must be running."""
    files, config, turns = given.files, IngestConfig(), given.repeats
    if given.lengths:
        lengths = [int(seconds) for seconds in given.lengths.split(",")]
        yield long_clips.peaks(files[0], lengths, config), "MB of resident memory at its largest; cheap flow"
        return
    yield ingest.stage_costs(files, config, given.pairs, turns, peer.found()), "frames or pairs a second; share in %"
    yield ingest.access(files, config, 64, 8, turns), "windows of so many frames a second; kB a frame"
    clips = throughput.copies(files, given.clips, given.seconds)
    with tempfile.TemporaryDirectory() as folder:
        for chosen in (IngestConfig(streams=("rgb",)), config):
            yield [throughput.compare(chosen, clips, Path(folder), turns)], "clips a second"
        rate, quarters = throughput.memory(given.tiny, Path(folder))
    yield quarters, f"{given.tiny} clips of 8 frames of 32x32, {rate:.1f} a second; memory in MB"


def of_loader(given: Namespace) -> Tables:
    """Measure windows of RGB and flow in one process, and of RGB on all cores; Ray must be running."""
    files, turns, peers = given.files, given.repeats, peer.found()
    note = "windows a second of one core; floats: converted to them on this core too"
    with tempfile.TemporaryDirectory() as folder:
        rgb = loader.ingested(files, Path(folder), ("rgb",), None)
        yield loader.costs(files, rgb, "rgb", 8, turns), note
        if peers:
            beside = loader.beside(files, rgb, peers, 8, turns)
            yield beside, "windows a second of one core; ratio: loader to peer; levels off: of the peer's windows"
        flows = loader.ingested(files, Path(folder), ("rgb", "flow"), given.seconds)
        yield loader.costs(files, flows, "flow", 8, turns), note
        note = "windows a second of all cores; wait: % of the time of a training that takes 0.8 of them"
        yield all_cores.compare(files, rgb, peers, 4 * given.clips, 8, turns), note


def of_sets(given: Namespace) -> Tables:
    """Measure windows of RGB on all cores from shard sets that are there; Ray must be running."""
    clips = ClipsConfig(frames=given.frames, crop=given.crop)
    note = "windows a second of all cores; ratio: to the first set"
    yield all_cores.places(given.sets, given.split, clips, given.windows, given.batch, given.repeats), note


def of_train(given: Namespace) -> Tables:
    """Measure training steps; if a shard set is given, also training from it, for which Ray must be running."""
    names = given.networks.split(",")
    training = TrainingConfig(precision=given.precision, compile=given.compile)
    setting = train.Setting(given.frames, given.crop, given.batch, given.steps, given.repeats, training)
    device = devices.device_of(given.device)
    peaks = devices.peaks(device)
    note = f"ratio: times eager fp32; mfu: % of {devices.described(device, peaks)}"
    yield train.compare(names, setting, device, max(peaks.values())), note
    if given.shards:
        note = "from shards; data wait: % of the time in which the device had nothing to do"
        yield [train.supply(name, setting, given.shards, device) for name in names], note


def of_features(given: Namespace) -> Tables:
    """Measure the extraction of features beside a plain loop and a process pool; Ray must be running."""
    setting = features.Setting(given.network, given.frames, given.crop, given.clips, given.seconds, given.repeats)
    with tempfile.TemporaryDirectory() as folder:
        for rate, shares in features.compare(given.files, given.streams.split(","), setting, Path(folder)):
            yield [rate], "windows a second; plain: PyAV, OpenCV and the network, one video after the other"
            yield shares, "core-seconds of each stage on Ray; share in %"


def of_folds(given: Namespace) -> Tables:
    """Cross-validate torchvision's r3d_18 in a plain loop."""
    seeds = [int(seed) for seed in given.seeds.split(",")]
    rows = list(folds.cross_validate(given.config, given.folds.split(","), seeds, given.json))
    each = [row.test_percent for row in rows]
    spread = f" ± {stdev(each):.1f}" if len(each) > 1 else ""
    yield rows, f"test: {fmean(each):.1f}{spread} % over {len(rows)} trainings of torchvision's r3d_18 from scratch"


def needs_ray(given: Namespace) -> bool:
    """Return whether a benchmark needs Ray."""
    if getattr(given, "lengths", ""):
        return False
    return given.what in ("ingest", "loader", "sets", "features") or bool(getattr(given, "shards", None))


TABLES = {
    "flow": of_flow,
    "ingest": of_ingest,
    "loader": of_loader,
    "sets": of_sets,
    "train": of_train,
    "features": of_features,
    "folds": of_folds,
}
