"""What happens when: segments by hand, and the tables that are made of the logits of windows."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.features.predictions import Asked, write_predictions
from pipeline.features.results import Joiner, Spool, make_store, schema_of
from pipeline.features.summary import predicted
from pipeline.features.timeline import Segment, cells, segments, top
from pipeline.features.windows import Windows
from pipeline.ingest.staging import folder_of, list_shard
from pipeline.storage import make_folder


def shares(*best: tuple[int, float]) -> np.ndarray:
    """Probabilities of three classes for each window, from its best class and that one's share."""
    rows = np.array([[(1 - share) / 2] * 3 for _, share in best])
    for row, (action, share) in zip(rows, best, strict=True):
        row[action] = share
    return rows


def test_neighbours_with_the_same_action_are_one_segment():
    start, end = np.arange(5.0), np.arange(5.0) + 1
    found = segments(shares((0, 0.9), (0, 0.7), (2, 0.6), (1, 0.5), (1, 0.9)), start, end)
    assert [(one.start_s, one.end_s, one.action, one.windows) for one in found] == [
        (0, 2, 0, 2),
        (2, 3, 2, 1),
        (3, 5, 1, 2),
    ]
    assert [one.confidence for one in found] == pytest.approx([0.8, 0.6, 0.7])


def test_windows_below_the_least_confidence_belong_to_no_segment():
    start, end = np.arange(4.0), np.arange(4.0) + 1
    found = segments(shares((0, 0.9), (0, 0.5), (0, 0.8), (1, 0.4)), start, end, 0.6)
    assert found == [Segment(0.0, 1.0, 0, pytest.approx(0.9), 1), Segment(2.0, 3.0, 0, pytest.approx(0.8), 1)]
    assert segments(np.empty((0, 3)), np.empty(0), np.empty(0)) == []


def test_overlapping_windows_share_the_time_and_gaps_stay_gaps():
    begin, end = cells(np.array([0.0, 2.0, 4.0]), np.array([4.0, 6.0, 8.0]))
    assert (begin.tolist(), end.tolist()) == ([0, 3, 5], [3, 5, 8])
    begin, end = cells(np.array([0.0, 10.0]), np.array([2.0, 12.0]))
    assert (begin.tolist(), end.tolist()) == ([0, 10], [2, 12])


def test_the_likeliest_actions_come_first():
    assert top(np.array([0.1, 0.5, 0.4, 0.0]), 3) == [1, 2, 0]


@pytest.fixture
def run(tmp_path) -> str:
    """Two videos of which one shows action 0 and then 1, and the other action 2."""
    folder, cut = str(tmp_path / "logits"), Windows(25)
    make_folder(folder_of(folder, "all-00000"))
    for name, actions in (("a", [0, 0, 1, 1, 1]), ("b", [2, 2])):
        row = {"clip_id": f"videos.{name}", "split": "all", "source": f"/v/{name}.mp4", "status": None}
        spool = Spool(row, schema_of({"rgb_logits": (3,), "flow_logits": (3,)}))
        logits = np.full((len(actions), 1, 3), 0.0, np.float32)
        logits[np.arange(len(actions)), 0, actions] = 4.0
        times = [cut.times(number, 999, 25) for number in range(len(actions))]
        spool.add(times, {"rgb_logits": logits, "flow_logits": logits / 2})
        spool.close({**row, "windows": len(actions)})
        make_store(folder_of(folder, "all-00000"))({**row, "features": spool.file})
    Joiner("parquet", {})(folder, "all-00000", sorted(list_shard(folder, "all-00000").values()))
    return folder


def test_tables_and_a_picture(run, tmp_path):
    out = str(tmp_path)
    drawn = write_predictions(out, run, ("run", "=jump", "$sit$"), Asked(2, True, 0.0, "logits", "csv"))
    with (tmp_path / "timeline.csv").open(newline="") as file:
        rows = sorted(csv.reader(file), reverse=True)
    assert rows[0] == ["video", "start_s", "end_s", "action", "confidence", "windows"]
    expected = float(np.exp(3) / (np.exp(3) + 2))
    found = {(row[0], float(row[1]), float(row[2]), row[3], row[5]) for row in rows[1:]}
    assert found == {
        ("/v/a.mp4", 0.0, 2.0, "run", "2"),
        ("/v/a.mp4", 2.0, 5.0, "'=jump", "3"),
        ("/v/b.mp4", 0.0, 2.0, "$sit$", "2"),
    }
    assert [float(row[4]) for row in rows[1:]] == pytest.approx([expected] * 3)
    with (tmp_path / "actions.csv").open(newline="") as file:
        actions = [row for row in csv.DictReader(file) if row["video"] == "/v/a.mp4"]
    assert [(row["rank"], row["action"]) for row in actions] == [("1", "'=jump"), ("2", "run")]
    says = predicted(out, "models:/x/1", "csv", drawn, 2)
    assert (tmp_path / "timeline.png").read_bytes()[:4] == b"\x89PNG"
    assert "timeline.csv: what happens when" in says


def test_parquet_and_classes_without_names(run, tmp_path):
    assert write_predictions(str(tmp_path), run, (), Asked(1)) == []
    table = pq.read_table(tmp_path / "actions.parquet").to_pylist()
    assert {(row["video"], row["action"]) for row in table} == {("/v/a.mp4", "class 1"), ("/v/b.mp4", "class 2")}
    assert not (tmp_path / "timeline.parquet").exists()
