"""rawframes: lists of mmaction2, and folders of JPEGs as videos."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.catalog import CatalogError
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.flow import dequantise, quantise, tvl1
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.decode.child_process import decode_in_child
from pipeline.ingest.frames import joined
from pipeline.ingest.run import IngestError, ingest
from pipeline.ingest.stages import make_convert
from pipeline.shards import decode_flow, decode_video
from pipeline.tracking.runs import tracked_run
from pipeline.training.trainer import train_stream

RGB = {"ingest.streams": "rgb", "model.streams": "rgb", "ingest.short_side": "48", "clips.crop": "48"}


@pytest.fixture
def root(tmp_path) -> Path:
    """A video of six frames, each a little brighter."""
    for number in range(1, 7):
        folder = tmp_path / "raw" / "a class" / "vid"
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.full((48, 64, 3), 20 * number, np.uint8)
        cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), picture)
    return tmp_path / "raw"


def catalog(root: Path, text: str, **more: str):
    (root.parent / "list.txt").write_text(text)
    fields = {"catalog.dataset": "rawframes", "catalog.videos": str(root), **more}
    return configured_catalog(
        override(Config(), {**fields, "catalog.annotations.train": f"{root.parent}/list.txt"}).resolved()
    ).to_pylist()


def test_a_line_is_a_clip_and_a_wrong_line_is_a_row_with_its_error(root):
    (root.parent / "outside").mkdir()
    rows = catalog(
        root,
        "a class/vid 6 1\n\na class/vid 3 2 0\na class/vid 6 1\nvid 6\n../outside 6 1\nnowhere 2 1\na class/vid 0 1\n",
    )
    assert [row["error_class"] for row in rows] == [
        None, None, "DuplicateClip", "BadRow", "FileNotFound", "FileNotFound", "BadRow",
    ]  # fmt: skip
    assert [row["source"] for row in rows[:2]] == [f"frames:25:{part}:{root}/a class/vid" for part in ("1:6", "3:2")]
    assert [(row["label"], row["label_id"]) for row in rows[:2]] == [("1", 1), ("0", 0)]


def test_a_file_of_classes_names_the_numbers(root):
    (root.parent / "classes.txt").write_text("running\njumping\n")
    more = {"catalog.annotations.classes": f"{root.parent}/classes.txt"}
    rows = catalog(root, "a class/vid 6 1\na class/vid 2 5 2\n", **more)
    assert (rows[0]["label"], rows[0]["label_id"], rows[1]["error_class"]) == ("jumping", 1, "BadRow")


def test_frames_are_stored_as_those_of_any_video(root):
    (row,) = catalog(root, "a class/vid 6 1")
    made = make_convert(override(Config(), RGB).ingest)({**row, "status": "ok"})
    assert (made["status"], made["num_frames"], made["source_codec"]) == ("ok", 6, "mjpeg")
    made["video"].seek(0)
    levels = decode_video(made["video"].read(), np.arange(6)).mean(axis=(1, 2, 3))
    assert levels == pytest.approx([20, 40, 60, 80, 100, 120], abs=2)


def test_equal_frames_give_equal_bytes_and_the_rate_is_that_of_the_extraction(root):
    source = f"frames:25:1:6:{root}/a class/vid"
    assert joined(source, 1 << 20) == joined(source, 1 << 20)
    slow = {"status": "ok", "source": source.replace(":25:", ":5:"), "start_s": None, "end_s": None}
    made = make_convert(override(Config(), RGB).ingest)(slow)
    assert made["num_frames"] == 30


@pytest.mark.parametrize(
    ("source", "content", "line"),
    [
        ("frames:25:1:7:ROOT/a class/vid", None, "BadRow: the list says 7 frames from 1, and frame 7 is not in"),
        ("frames:25:1:6:ROOT/nowhere", None, "FileNotFound: no folder"),
        ("frames:25:1:6:ROOT/a class/vid", b"", "ZeroByte: .*img_00001.jpg: empty"),
        ("frames:25:1:6:ROOT/a class/vid", b"GIF89a" + bytes(100), "NotAVideo: .*img_00001.jpg: no JPEG"),
        ("frames:25:1:6:ROOT/a class/vid", b"\xff\xd8" + b"\xff" * 5000, "NotAVideo: .*img_00001.jpg: no JPEG"),
        ("frames:25:1:6:ROOT/a class/vid", 2 << 20, "TooLarge: .*more than 1 MiB"),
    ],
)
def test_what_is_no_video_is_one_line(root, source, content, line):
    if content is not None:
        content = bytes(content) if isinstance(content, int) else content
        (root / "a class" / "vid" / "img_00001.jpg").write_bytes(content)
    with pytest.raises(ClipError) as caught:
        joined(source.replace("ROOT", str(root)), 1 << 20)
    assert re.match(line, f"{type(caught.value).__name__}: {caught.value}")


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_every_frame_is_shown_once_at_the_rate_of_the_extraction(root, fps):
    folder = root / "a class" / "vid"
    for number in range(1, 51):
        cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), np.full((48, 64, 3), 5 * number, np.uint8))
    frames, _ = decode_in_child(joined(f"frames:{fps}:1:50:{folder}", 1 << 24), None, None, fps, 48)
    assert frames.mean(axis=(1, 2, 3)).tolist() == pytest.approx([5 * number for number in range(1, 51)], abs=1)


def stored(source: str, **more: str):
    """A clip with the flow of its pictures, as it is stored."""
    fields = {"ingest.flow.backend": "stored", "ingest.short_side": "48", "clips.crop": "48", **more}
    row = {"status": "ok", "source": source, "start_s": None, "end_s": None}
    return make_convert(override(Config(), fields).ingest)(row)


@pytest.fixture
def with_flow(root) -> str:
    """The source of a video of 16 frames with flow pictures: x grows to the right, y with the number of the frame."""
    folder = root / "a class" / "vid"
    for number in range(1, 17):
        cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), np.full((48, 64, 3), 10 * number, np.uint8))
    for number in range(1, 16):
        right = np.linspace(100, 220, 64).astype(np.uint8)[None].repeat(48, 0)
        cv2.imwrite(str(folder / f"flow_x_{number:05d}.jpg"), right)
        cv2.imwrite(str(folder / f"flow_y_{number:05d}.jpg"), np.full((48, 64), 100 + number, np.uint8))
    return f"frames:25:1:16:{folder}"


def levels_of(made) -> np.ndarray:
    made["flow"].seek(0)
    return decode_flow(made["flow"].read(), np.arange(made["num_flow"]))


@pytest.mark.parametrize("bound", ["20", "15.5"])
def test_flow_pictures_are_stored_level_by_level_in_place_of_tvl1(with_flow, bound):
    made = stored(with_flow, **{"ingest.flow.bound": bound})
    assert (made["status"], made["num_frames"], made["num_flow"]) == ("ok", 16, 15)
    assert (made["flow_backend"], made["flow_version"], made["flow_parameters"], made["flow_bound"]) == (
        "stored", "pictures of denseflow", "{}", float(bound),
    )  # fmt: skip
    levels = levels_of(made)
    given = cv2.imread(f"{with_flow.rpartition(':')[2]}/flow_x_00003.jpg", cv2.IMREAD_GRAYSCALE)
    assert np.abs(levels[2, ..., 0].astype(int) - given).max() <= 1  # two decoders of JPEG
    assert levels[..., 1].mean(axis=(1, 2)).tolist() == list(range(101, 116))


def test_a_part_of_a_video_has_the_flow_of_its_frames(with_flow):
    levels = levels_of(stored(with_flow.replace(":1:16:", ":3:3:")))
    assert levels[..., 1].mean(axis=(1, 2)).tolist() == [103, 104]


def test_vectors_are_scaled_with_the_frames(with_flow):
    whole, half = (dequantise(levels_of(stored(with_flow, **size)), 20.0) for size in ({}, {
        "ingest.short_side": "24", "clips.crop": "24"}))  # fmt: skip
    assert half.shape == (15, 24, 32, 2)
    assert half.mean(axis=(1, 2)) == pytest.approx(whole.mean(axis=(1, 2)) / 2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("flow_y_00005.jpg", None, "BadRow: the list says 16 frames from 1, and flow_y 5 is not in"),
        ("flow_x_00002.jpg", b"", "ZeroByte: .*flow_x_00002.jpg: empty"),
        ("flow_x_00002.jpg", b"GIF89a", "NotAVideo: .*flow_x_00002.jpg: no JPEG"),
        ("flow_x_00002.jpg", (40, 64), "BadRow: the flow pictures in .* differ in size"),
        ("*", (48, 40), "BadRow: the flow pictures in .* have another shape than the frames"),
        ("flow_y_00004.jpg", 300, "DecodeError: the flow pictures in .*: 1 damaged frames.*of the flow would be wrong"),
    ],
)
def test_flow_that_is_missing_or_damaged_is_a_failed_row_with_its_class(with_flow, name, content, line):
    """Of a damaged picture, which as a frame would be a note, the wrong half would be flow of something else."""
    for path in Path(with_flow.rpartition(":")[2]).glob(name if "flow" in name else "flow_*"):
        if content is None:
            path.unlink()
        elif isinstance(content, tuple):
            cv2.imwrite(str(path), np.full(content, 128, np.uint8))
        elif isinstance(content, int):
            noise = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
            path.write_bytes(cv2.imencode(".jpg", noise)[1].tobytes()[:-content])
        else:
            path.write_bytes(content)
    made = stored(with_flow)
    assert made["status"] == "failed"
    assert re.match(line, f"{made['error_class']}: {made['error_message']}")


def test_stored_flow_that_cannot_be_there_is_refused_before_anything_is_done(root):
    more = {"ingest.flow.backend": "stored", "ingest.fps": "30"}
    with pytest.raises(CatalogError, match=r"ingest.fps: 30; stored flow goes .* there are 25 a second"):
        catalog(root, "a class/vid 6 1", **more)
    with pytest.raises(CatalogError, match=r"stored is for rawframes, .*; folder has none"):
        catalog(root, "", **more, **{"catalog.dataset": "folder"})


def extracted(folder: Path, video: Path, start_s: float) -> int:
    """Frames and flow as denseflow writes them, of half a second of a video; the number of frames."""
    frames, _ = decode_in_child(str(video), start_s, start_s + 0.5, 25, 64)
    levels = quantise(tvl1(frames, nscales=1, warps=1, outerIterations=1), 20.0)
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(f"{folder}/img_{number:05d}.jpg", frame[..., ::-1])
    for number, field in enumerate(levels, 1):
        for axis, component in zip("xy", np.moveaxis(field, -1, 0), strict=True):
            cv2.imwrite(f"{folder}/flow_{axis}_{number:05d}.jpg", component)
    return len(frames)


@pytest.mark.ray
@pytest.mark.slow
def test_real_clips_with_stored_flow_become_shards_and_train(cluster, clips_dir, tmp_path):
    """A set of them is another one than that of TV-L1; a clip that lacks a picture of flow is a row."""
    fields = {}
    for start_s, split in enumerate(("train", "val"), 1):
        lines = []
        for number, name in enumerate(("arm_wrestling.mp4", "mpeg4_320x240.avi")):
            count = extracted(tmp_path / "raw" / f"{split}{number}", clips_dir / name, start_s)
            lines.append(f"{split}{number} {count} {number}\n")
        (tmp_path / f"{split}.txt").write_text("".join(lines))
        fields[f"catalog.annotations.{split}"] = f"{tmp_path}/{split}.txt"
    (tmp_path / "raw" / "val1" / "flow_y_00003.jpg").unlink()
    config = override(
        Config(),
        {
            "storage": str(tmp_path), "catalog.dataset": "rawframes", "catalog.videos": f"{tmp_path}/raw", **fields,
            "ingest.short_side": "64", "ingest.flow.backend": "stored", "ingest.max_failed": "0.5",
            "model.name": "resnet3d18", "model.streams": "flow", "clips.frames": "4", "clips.crop": "32",
            "training.batch_size": "2", "training.epochs": "1", "optimiser.lr": "1e-4",
            "evaluation.val_frames": "4",
            "resources.workers": "1", "resources.worker_cpus": "0.5", "resources.loader_cpus": "0.5",
        },
    ).resolved()  # fmt: skip
    manifest = ingest(config, configured_catalog(config), write=lambda line: None)
    assert (manifest["splits"]["train"]["failed"], manifest["splits"]["val"]["failed"]) == ({}, {"BadRow": 1})
    assert manifest["plan"]["flow_version"] == "pictures of denseflow"
    computed = override(config, {"ingest.flow.backend": "cpu"})
    with pytest.raises(IngestError, match=r"made with settings.flow.backend = stored, now asked for cpu"):
        ingest(computed, configured_catalog(computed), write=lambda line: None)
    with tracked_run(f"sqlite:///{tmp_path}/mlflow.db", "test", "run", artifacts=f"{tmp_path}/artifacts") as run:
        trained = train_stream(config, "flow", run, str(tmp_path))
    assert (trained.best["train/clips"], trained.best["val/clips"]) == (2, 1)
    assert np.isfinite(trained.best["val/loss"])


def test_lists_that_cannot_be_read_are_one_line(root):
    with pytest.raises(CatalogError, match="no list; give one of each split"):
        catalog(root, "")
    with pytest.raises(CatalogError, match="no such folder of rawframes"):
        catalog(root.parent / "nowhere", "a 1 0")
