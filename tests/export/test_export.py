"""Exports of networks: files that agree with the original, a folder that holds all or nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.command_line import override
from pipeline.commands.export import main
from pipeline.config import Config, to_dict
from pipeline.export.check import TOLERANCE, onnx_file, original, program_file, variants
from pipeline.export.dimensions import axis_names
from pipeline.export.onnx_file import write_onnx
from pipeline.export.program import exported
from pipeline.export.run import REPORT, ExportError, export
from pipeline.ingest.clip_errors import ClipError
from pipeline.models import create_model, list_models
from pipeline.networks import build_network
from pipeline.registry.model_folder import ModelFolderError, StoredClassifier, read_model_folder
from pipeline.registry.video_classifier import VideoClassifier
from pipeline.shards import encode_video

EVERY = os.environ.get("EVERY_EXPORT")
CHEAP = ("resnet3d18",)
SMALL = {"model.name": "resnet3d18", "model.streams": "rgb", "clips.frames": "4", "clips.crop": "80",
         "clips.short_side": "80", "ingest.short_side": "80", "ingest.max_seconds": "2"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [info.name for info in list_models()] if EVERY else CHEAP)
def test_a_program_and_an_onnx_file_agree_with_the_network_at_any_open_length(name, tmp_path):
    """At small size; `EVERY_EXPORT=1` takes all networks of the registry."""
    torch.manual_seed(0)
    (info,) = list_models(name)
    options = {"size": 64} if name == "c3d" else {}
    network = create_model(name, num_classes=5, **options).eval()
    streams = ("rgb", "flow") if len(info.clips) == 2 else ("rgb",)
    frames = 3 if name == "convnet_lstm" else 18
    program = exported(network, name, streams, frames, 64)
    torch.export.save(program, tmp_path / "a.pt2")
    write_onnx(program, tmp_path / "a.onnx", axis_names(name, streams), {"labels": "[]"})
    runs = [program_file(tmp_path / "a.pt2"), onnx_file(tmp_path / "a.onnx")]
    rng = np.random.default_rng(0)
    lengths = {"rgb": 2, "flow": 20} if name in ("two_stream", "fused_two_stream") else dict.fromkeys(streams, frames)
    size = 64 if name == "c3d" else 80
    view = {
        stream: rng.integers(0, 256, (1, lengths[stream], size, size, 3 if stream == "rgb" else 2), dtype=np.uint8)
        for stream in streams
    }
    for batch in variants(name, view):
        expected = original(network)(batch)
        for run in runs:
            assert np.abs(run(batch) - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """12 frames of 80 x 96."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 80, 96, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("video") / "-clip 1.mp4"
    path.write_bytes(encode_video(frames, 25, 17, 6))
    return path


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> StoredClassifier:
    """An untrained network."""
    folder, config = tmp_path_factory.mktemp("weights"), override(Config(), SMALL)
    torch.manual_seed(0)
    torch.save(build_network(config.model, "rgb", 3).state_dict(), folder / "rgb.pt")
    return StoredClassifier(("a", "b", "c"), to_dict(config), {"rgb": folder / "rgb.pt"})


@pytest.fixture(scope="module")
def folder(stored, video, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "out"
    export(stored, "here", [str(video), "/nowhere.mp4"], folder, onnx=False)
    return folder


@pytest.mark.slow
def test_an_export_says_what_it_takes_and_what_the_check_found(folder):
    report = json.loads((folder / REPORT).read_text())
    assert report["networks"]["rgb"]["inputs"] == {"rgb": ["batch", "time", "height", "width", 3]}
    (checked,) = report["check"]["files"]
    assert (checked["clips"], checked["same"]) == (5, 5)
    assert {path.name for path in folder.iterdir()} == {"export.json", "model.json", "rgb.pt", "rgb.pt2"}
    assert {path.name for path in folder.parent.iterdir()} == {"out"}


def test_a_classifier_is_loaded_from_its_folder_without_ray_and_mlflow(folder, video, stored):
    code = (
        "import json, sys\n"
        "from pipeline.registry.video_classifier import VideoClassifier\n"
        "found = VideoClassifier.load(sys.argv[1])(sys.argv[2])\n"
        "print(json.dumps([found.model_dump(), sorted({'ray', 'mlflow'} & sys.modules.keys())]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder, video], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer, imported = json.loads(done.stdout.splitlines()[-1])
    assert imported == []
    by_path = VideoClassifier.load(folder)(video)
    assert (answer["labels"], answer["error"]) == (by_path.labels, None)
    assert VideoClassifier.load(folder)(video.read_bytes()).probabilities == pytest.approx(answer["probabilities"])
    assert read_model_folder(folder).labels == stored.labels


def test_what_is_no_classifier_is_one_line(folder, tmp_path):
    with pytest.raises(ModelFolderError, match=r"no MLmodel and no model.json there; give the folder"):
        VideoClassifier.load(tmp_path)
    described = json.loads((folder / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(ModelFolderError, match=r"rgb.pt is missing"):
        VideoClassifier.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({**described, "streams": ["../../etc/passwd"]}))
    with pytest.raises(ModelFolderError, match="leads out of it"):
        VideoClassifier.load(tmp_path)
    (tmp_path / "rgb.pt").write_bytes((folder / "rgb.pt").read_bytes())
    (tmp_path / "model.json").write_text(json.dumps({**described, "config": {"clips": {"frames": -1}}}))
    with pytest.raises(ModelFolderError, match="stored by another version of this package"):
        VideoClassifier.load(tmp_path)


def test_a_bad_video_is_an_error_of_the_call(folder):
    with pytest.raises(ClipError, match=r"no file nowhere\.mp4"):
        VideoClassifier.load(folder)("/nowhere.mp4")


def test_a_folder_of_something_else_stays_as_it_is(stored, video, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="holds other files; give a folder that is empty"):
        export(stored, "here", [str(video)], tmp_path, onnx=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ExportError, match=r"nowhere.mp4: FileNotFound.*give a clip that can be used"):
        export(stored, "here", ["/nowhere.mp4"], tmp_path / "out", onnx=False)
    assert not (tmp_path / "out").exists()


def test_a_file_that_disagrees_is_not_left_behind(folder, stored, video, tmp_path, monkeypatch):
    def written(made, *_):
        shutil.copy(folder / "rgb.pt2", made)
        yield "rgb.pt2"

    monkeypatch.setattr("pipeline.export.run._write", written)

    def other(network):
        return lambda clips: original(network)(clips) + 1

    monkeypatch.setattr("pipeline.export.run.original", other)
    with pytest.raises(ExportError, match=r"rgb.pt2: a logit differs by 1 from that of its network"):
        export(stored, "here", [str(video)], tmp_path / "out", onnx=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--run", "one", "--log"], "--log: only a registered model has a version to log to; give --model"),
        (["--run", "one", "--model.name", "i3d"], "--model.name: export takes a network as it was trained"),
        (["--run", "one", "--storage", "/nowhere"], "one"),
    ],
)
def test_wrong_words_are_one_line(words, line, video, capsys, tmp_path):
    with pytest.raises(SystemExit):
        main([str(video.parent), "--output", str(tmp_path / "out"), "--without-onnx", *words])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert line in error
