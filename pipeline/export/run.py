"""The whole export of a video classifier: programs, ONNX files, their check on real clips, and a folder of it all.

model.json   rgb.pt            the classifier itself, for `VideoClassifier.load(folder)`
rgb.pt2      rgb.onnx          each network with its normalisation
export.json                    inputs, open axes, how frames are prepared, versions, what the check found
"""

import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline import console
from pipeline.clips.streams import CHANNELS
from pipeline.config import VERSION, ClipsConfig, Config, from_dict
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.view_cuts import ViewCuts
from pipeline.export.check import RUNS, TOLERANCE, Agreement, Clips, original, variants
from pipeline.export.dimensions import AXES, SNAPSHOTS, axes, axis_names
from pipeline.export.onnx_file import write_onnx
from pipeline.export.program import exported
from pipeline.ingest.clip_errors import ClipError
from pipeline.progress import Progress
from pipeline.registry.model_folder import DESCRIPTION, StoredClassifier, describe
from pipeline.registry.video_classifier import VideoClassifier

REPORT = "export.json"
PROGRAM, ONNX = ".pt2", ".onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")


class ExportError(ValueError):
    """An export that is not possible, or that does not agree with its network; the message is one line."""


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        folder: the folder.
        files: names of the files of programs and ONNX.
        report: the content of `export.json`.
        agreements: what the check found of each file.
        failed: the videos that could not be used for the check, with their errors.
    """

    folder: Path
    files: tuple[str, ...]
    report: dict[str, Any]
    agreements: tuple[Agreement, ...]
    failed: dict[str, str]


def check_onnx() -> None:
    """Check that the packages that write and run ONNX are installed.

    Raises:
        ExportError: one of them is not.
    """
    if gone := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ExportError(f"ONNX needs {', '.join(gone)}: pip install {' '.join(gone)}; or give --without-onnx")


def export(stored: StoredClassifier, origin: str, videos: Sequence[str], folder: Path, onnx: bool = True) -> Exported:
    """Export a classifier to a folder, which appears only when every file agrees with its network.

    Args:
        stored: the classifier.
        origin: where it comes from, for the report.
        videos: paths of real clips for the check.
        folder: the folder; it must not exist, be empty, or hold an earlier export, which is replaced.
        onnx: whether to write ONNX files too.

    Raises:
        ExportError: no video can be used, the folder holds something else, or a file disagrees with its network.
        ConfigError: the config of the classifier does not fit it.
    """
    if onnx:
        check_onnx()
    config = from_dict(Config, stored.config)
    classifier = VideoClassifier.from_weights(stored.labels, config, stored.weights)
    with _replacing(folder) as made:
        views, failed = _views(classifier, videos)
        about = {"labels": json.dumps(stored.labels), "input": json.dumps(_input(config))}
        report: dict[str, Any] = {"origin": origin, "version": VERSION, "torch": torch.__version__}
        report |= {"input": _input(config), "networks": {}}
        agreements = []
        for name, network in classifier.networks.items():
            streams, plain = classifier.inputs[name], network.cpu()
            files = list(_write(made, name, plain, config.model.name, config.clips, streams, about, onnx))
            agreements += _check(made, files, plain, config.model.name, [view[name] for view in views])
            report["networks"][name] = {
                **_network(config.model.name, config.clips, streams),
                "files": {file: _facts(made / file) for file in files},
            }
        report["check"] = {"tolerance": TOLERANCE, "files": [asdict(each) for each in agreements]}
        copies = {name: shutil.copy(file, made / f"{name}.pt") for name, file in stored.weights.items()}
        (made / DESCRIPTION).write_text(json.dumps(describe(stored.labels, stored.config, copies)))
        (made / REPORT).write_text(json.dumps(report, indent=1))
        if bad := [each for each in agreements if not each.good]:
            raise ExportError(
                f"{bad[0].file}: a logit differs by {bad[0].difference:.2g} from that of its network, whose largest is "
                f"{bad[0].largest:.3g}; nothing was written"
            )
    return Exported(folder, tuple(each.file for each in agreements), report, tuple(agreements), failed)


def _views(
    classifier: VideoClassifier, videos: Sequence[str]
) -> tuple[list[dict[str, dict[str, np.ndarray]]], dict[str, str]]:
    """Return one view of each video for each network, and the errors of videos that cannot be used.

    Raises:
        ExportError: no video can be used.
    """
    views, failed = [], {}
    config, progress = classifier.config, Progress("export: decoding", len(videos))
    cuts = ViewCuts(config.clips, protocol_of(config.evaluation, config.model))
    view = partial(_view, config.model.name, config.clips.frames, cuts)
    for video in videos:
        try:
            arrays = classifier.arrays(Path(video))
            views.append({name: view(streams, arrays) for name, streams in classifier.inputs.items()})
        except ClipError as error:
            failed[video] = f"{type(error).__name__}: {error}"
        progress.advance()
    if not views:
        raise ExportError(f"{videos[0]}: {failed[videos[0]]}; give a clip that can be used for the check")
    return views, failed


def _view(model: str, trained: int, cuts: ViewCuts, streams: Sequence[str], arrays: Clips) -> dict[str, np.ndarray]:
    """Return the first view of the test, (1, T, H, W, C) of each stream, with `trained` frames, those of training.

    Networks of snapshots keep the number of snapshots of the test.
    """
    view = {}
    for stream in streams:
        frames, places = cuts.uncut(arrays[stream], stream)
        first = places[0] if model in SNAPSHOTS else np.resize(places[0], trained)
        view[stream] = frames[0, 0, first][None]
    return view


def _write(
    folder: Path,
    name: str,
    network: nn.Module,
    model: str,
    clips: ClipsConfig,
    streams: Sequence[str],
    about: Mapping[str, str],
    onnx: bool,
) -> Iterator[str]:
    """Write the files of a network, and yield their names."""
    console.say(f"export: {name}: tracing {model}")
    program = exported(network, model, streams, clips.frames, clips.crop)
    torch.export.save(program, folder / f"{name}{PROGRAM}", extra_files=dict(about))
    yield f"{name}{PROGRAM}"
    if onnx:
        console.say(f"export: {name}: writing ONNX")
        write_onnx(program, folder / f"{name}{ONNX}", axis_names(model, streams), about)
        yield f"{name}{ONNX}"


def _check(
    folder: Path, files: Sequence[str], network: nn.Module, model: str, views: Sequence[Clips]
) -> list[Agreement]:
    """Compare each file with the network on all variants of the views."""
    batches = [batch for view in views for batch in variants(model, view)]
    agreements = {file: Agreement(file) for file in files}
    runs = {file: RUNS[Path(file).suffix](folder / file) for file in files}
    by_network = original(network)
    progress = Progress(f"export: checking {', '.join(files)}", len(batches))
    for batch in batches:
        expected = by_network(batch)
        for file, run in runs.items():
            agreements[file].add(expected, run(batch))
        progress.advance()
    return list(agreements.values())


def _network(model: str, clips: ClipsConfig, streams: Sequence[str]) -> dict[str, Any]:
    """Describe the inputs of a network."""
    names, sizes = axis_names(model, streams), dict.fromkeys(("height", "width"), clips.crop)
    fixed = {"time": clips.frames, **sizes}
    return {
        "model": model,
        "inputs": {
            stream: [*(names[stream].get(place, fixed.get(axis)) for place, axis in enumerate(AXES)), CHANNELS[stream]]
            for stream in streams
        },
        "axes": [str(axis) for axis in axes(model)],
    }


def _input(config: Config) -> dict[str, Any]:
    """Describe how frames become the input of a program: uint8, as ingest stores them and as the test cuts them."""
    clips, ingest = config.clips, config.ingest
    flow = {"bound": ingest.flow.bound, **ingest.flow.parameters} if "flow" in config.model.streams else None
    return {
        "fps": ingest.fps,
        "decoded_short_side": ingest.short_side,
        "short_side": clips.short_side or ingest.short_side,
        "crop": clips.crop,
        "frames": clips.frames,
        "stride": clips.stride,
        "rgb_every": clips.rgb_every,
        "levels": "uint8 from 0 to 255; the program normalises them",
        "protocol": str(protocol_of(config.evaluation, config.model)),
        "flow": flow,
    }


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `folder` if all goes well, and is removed if not.

    Raises:
        ExportError: `folder` holds something else than an earlier export.
    """
    target = folder.absolute()
    if target.exists() and not target.is_dir():
        raise ExportError(f"{folder}: a file; give a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / REPORT).is_file():
        raise ExportError(f"{folder}: holds other files; give a folder that is empty or not there yet")
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield made
        made.chmod(0o755)
        if target.is_dir():
            shutil.rmtree(target)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
