"""rawframes: lists of mmaction2, and folders of JPEGs as videos."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.catalog import CatalogError
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.clip_errors import ClipError
from pipeline.ingest.frames import joined
from pipeline.ingest.stages import make_convert
from pipeline.shards import decode_video

RGB = {"ingest.streams": "rgb", "model.streams": "rgb", "ingest.short_side": "48", "clips.crop": "48"}


@pytest.fixture
def root(tmp_path) -> Path:
    """A video of six frames, each a little brighter."""
    for number in range(1, 7):
        folder = tmp_path / "raw" / "a class" / "vid"
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.full((48, 64, 3), 20 * number, np.uint8)
        cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), picture)
        cv2.imwrite(str(folder / f"flow_x_{number:05d}.jpg"), picture)
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
        ("frames:25:1:6:ROOT/a class/vid", bytes(2 << 20), "TooLarge: .*more than 1 MiB"),
    ],
)
def test_what_is_no_video_is_one_line(root, source, content, line):
    if content is not None:
        (root / "a class" / "vid" / "img_00001.jpg").write_bytes(content)
    with pytest.raises(ClipError) as caught:
        joined(source.replace("ROOT", str(root)), 1 << 20)
    assert re.match(line, f"{type(caught.value).__name__}: {caught.value}")


def test_lists_that_cannot_be_read_are_one_line(root):
    with pytest.raises(CatalogError, match="no list; give one of each split"):
        catalog(root, "")
    with pytest.raises(CatalogError, match="no such folder of rawframes"):
        catalog(root.parent / "nowhere", "a 1 0")
