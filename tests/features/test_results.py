"""Features in a clip's own file and in what is made of it, read by those who read such files."""

import json

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.features.results import FORMS, Joiner, Spool, file_name, make_store, read_videos, schema_of, values_of
from pipeline.features.retry import recorded_classes
from pipeline.features.windows import Windows
from pipeline.ingest.staging import folder_of, list_of, list_shard
from pipeline.storage import make_folder

SHAPES = {"rgb_avg_pool": (10, 6), "flow_avg_pool": (10, 6)}
CUT = Windows(4, 1, 2)


def features(windows: int, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=(windows, *shape)).astype(np.float32) for name, shape in SHAPES.items()}


def clip(name: str, **changes) -> dict:
    row = {"clip_id": f"videos.{name}", "dataset": "videos", "split": "all", "label": None, "label_id": None}
    return {**row, "source": f"/data/{name}.mp4", "start_s": None, "end_s": None, "status": None, **changes}


def staged(folder: str, name: str, windows: int, batch: int = 3) -> None:
    """Stage a clip whose features come in batches."""
    make_folder(folder_of(folder, "all-00000"))
    spool, made = Spool(clip(name), schema_of(SHAPES)), features(windows, len(name))
    spool.add([CUT.times(0, 4, 25)], {key: value[:1] for key, value in made.items()})
    spool.begin()  # decoding has started again
    for start in range(0, windows, batch):
        part = {key: value[start : start + batch] for key, value in made.items()}
        spool.add([CUT.times(number, 99, 25) for number in range(start, min(start + batch, windows))], part)
    row = clip(name, windows=windows, num_frames=50, num_flow=49)
    spool.close(row)
    status = make_store(folder_of(folder, "all-00000"))({**row, "features": spool.file, "network_s": 1.0})
    assert (status["status"], status["stopped"], status["provisional"]) == ("ok", None, False)


def joined(folder: str, form: str, batch: int = 3) -> None:
    for name, windows in (("a", 5), ("bb", 2000)):
        staged(folder, name, windows, batch)
    store = make_store(folder_of(folder, "all-00000"))
    store(clip("broken", status="failed", error_class="NotAVideo", error_message="text"))
    listed = clip("listed", error_class="BadRow", error_message="no file")
    there = list_shard(folder, "all-00000")
    names = [*sorted(there.values()), listed]
    Joiner(form, {})(folder, "all-00000", names)
    assert not list_shard(folder, "all-00000")


def test_a_run_that_is_not_complete_knows_the_classes_of_its_failures(tmp_path):
    make_folder(folder_of(tmp_path, "all-00001"))
    make_store(folder_of(tmp_path, "all-00001"))(clip("c", status="failed", error_class="MemoryError"))
    assert recorded_classes(str(tmp_path)) == {"MemoryError"}
    joined(str(tmp_path), "parquet")
    assert recorded_classes(str(tmp_path)) == {"MemoryError", "NotAVideo", "BadRow"}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_holds_what_was_computed(tmp_path, form):
    joined(str(tmp_path), form)
    one, two = features(5, 1), features(2000, 2)
    both = np.concatenate([one["rgb_avg_pool"], one["flow_avg_pool"]], axis=-1)
    match form:
        case "parquet":
            table = pq.read_table(tmp_path / "all-00000.parquet")
            assert table.num_rows == 2005
            for name in SHAPES:
                values = {"videos.a": one[name], "videos.bb": two[name]}
                for key, expected in values.items():
                    own = table.filter(ds.field("clip_id") == key)
                    assert np.array_equal(values_of(own, name), expected)
                    assert own["window"].to_pylist() == list(range(len(expected)))
            first = table.slice(0, 1).to_pylist()[0]
            assert len(first["rgb_avg_pool"]) == 60
            assert ds.dataset(tmp_path).count_rows() == 2005
        case "npy":
            assert np.array_equal(np.load(tmp_path / "a_rgb.npy"), one["rgb_avg_pool"])
            assert np.array_equal(np.load(tmp_path / "bb_flow.npy"), two["flow_avg_pool"])
        case "npy_joined":
            assert np.array_equal(np.load(tmp_path / "a.npy"), both)
        case "npz":
            file = np.load(tmp_path / "a.npz")
            assert np.array_equal(file["flow_avg_pool"], one["flow_avg_pool"])
            assert file["start_s"].tolist() == [CUT.times(number, 99, 25).start_s for number in range(5)]
    rows = {row["clip_id"]: row for row in read_videos(list_of(str(tmp_path), "all-00000")).to_pylist()}
    assert {name: (row["status"], row["error_class"], row["windows"]) for name, row in rows.items()} == {
        "videos.a": ("ok", None, 5),
        "videos.bb": ("ok", None, 2000),
        "videos.broken": ("failed", "NotAVideo", None),
        "videos.listed": ("failed", "BadRow", None),
    }
    written = {name for row in rows.values() for name in (row["files"] or "").split(",") if name}
    assert written == {path.name for path in tmp_path.iterdir() if path.name != "_staging"}


@pytest.mark.parametrize("form", FORMS)
def test_the_bytes_do_not_depend_on_the_batches(tmp_path, form):
    for batch in (1, 7):
        joined(str(tmp_path / str(batch)), form, batch)
    ours, theirs = ({p.name: p.read_bytes() for p in (tmp_path / b).glob("*.*")} for b in ("1", "7"))
    assert ours == theirs
    assert ours


@pytest.mark.parametrize(
    ("clip_id", "source", "name"),
    [
        ("kinetics400.0wR5jVB-WPk.417-427", "https://www.youtube.com/watch?v=0wR5jVB-WPk", "0wR5jVB-WPk.417-427"),
        ("folder.walk-x-mp4~0123456789abcdef", "/data/walk/x y.mp4", "x_y"),
        ("videos.x~0123456789abcdef.1-2", "s3://bucket/a/clip.final.mp4?versionId=7", "clip.final.1-2"),
        ("videos.x~0123456789abcdef", "/tars/0.tar#../../etc/passwd.mp4", "passwd"),
        ("videos.x~0123456789abcdef", "/data/..mp4", "video"),
        ("videos.x~0123456789abcdef", None, "x~0123456789abcdef".replace("~", "_")),
    ],
)
def test_a_name_from_outside_is_no_path(clip_id, source, name):
    assert file_name({"clip_id": clip_id, "source": source}) == name


def test_secrets_are_not_stored(tmp_path):
    row = clip("a", source="s3://KEY:SECRET@bucket/a.mp4")
    make_folder(folder_of(str(tmp_path), "all-00000"))
    spool = Spool(row, schema_of(SHAPES))
    spool.add([CUT.times(0, 9, 25)], features(1, 0))
    spool.close({**row, "windows": 1})
    make_store(folder_of(str(tmp_path), "all-00000"))({**row, "features": spool.file})
    Joiner("parquet", {})(str(tmp_path), "all-00000", list(list_shard(str(tmp_path), "all-00000").values()))
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"SECRET" not in everything
    assert b"SECRET" not in json.dumps(pq.read_table(tmp_path / "all-00000.parquet").to_pylist()).encode()
