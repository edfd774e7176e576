"""Stages without Ray: rows in, rows out, failures passed along."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.config import FlowConfig, IngestConfig
from pipeline.flow import dequantise, tvl1
from pipeline.ingest import second_try
from pipeline.ingest.clip_errors import BadTimes
from pipeline.ingest.decode.child_process import decode_in_child
from pipeline.ingest.encode import worst_psnr
from pipeline.ingest.stages import make_convert
from pipeline.ingest.staging import make_store, part_name
from pipeline.shards import SHARD_SCHEMA, decode_flow, decode_video

FAST = IngestConfig(short_side=64, flow=FlowConfig(nscales=2, warps=1, epsilon=0.1))


def row(source, **changes):
    return {
        "clip_id": "k.a.0-1", "dataset": "k", "split": "train", "label": "a", "label_id": 0, "source": str(source),
        "start_s": None, "end_s": None, "status": None, "error_class": None, "error_message": None, **changes,
    }  # fmt: skip


def test_a_clip_goes_through_all_stages_and_comes_back_whole(clips_dir, tmp_path):
    frames, _ = decode_in_child(str(clips_dir / "h265_10bit.mp4"), None, None, 25, 64)
    status = make_store(str(tmp_path))(make_convert(FAST)(row(clips_dir / "h265_10bit.mp4")))
    assert status["status"] == "ok"
    assert all(status[f"{stage}_s"] > 0 for stage in ("decode", "flow", "encode"))
    (stored,) = pq.read_table(tmp_path / part_name("k.a.0-1")).to_pylist()
    assert list(stored) == SHARD_SCHEMA.names
    assert (stored["num_frames"], stored["num_flow"], stored["height"], stored["width"]) == (25, 24, 64, 64)
    assert worst_psnr(frames, decode_video(stored["video"], np.arange(25))) >= 36
    parameters = json.loads(stored["flow_parameters"])
    exact = tvl1(frames, stored["flow_backend"], **parameters)
    levels = decode_flow(stored["flow"], np.arange(24))
    inside = np.abs(exact) <= stored["flow_bound"]
    error = np.abs(dequantise(levels, stored["flow_bound"]) - exact)[inside]
    assert error.max() <= stored["flow_bound"] / 255 + 1e-4


def test_without_flow_a_row_has_none(clips_dir):
    made = make_convert(replace(FAST, streams=("rgb",)))(row(clips_dir / "h265_10bit.mp4"))
    assert made["video"]
    assert not {name for name in made if name.startswith(("flow", "num_flow"))}


def test_a_failed_row_passes_through_untouched_and_is_written(tmp_path):
    failed = row("/nowhere/x.mp4", status="failed", error_class="BadTimes", error_message="end 1 s is before 2 s")
    assert make_convert(FAST)(dict(failed)) == failed
    make_store(str(tmp_path))(failed)
    (stored,) = pq.read_table(tmp_path / part_name("k.a.0-1", failed=True)).to_pylist()
    assert (stored["status"], stored["error_class"], stored["video"]) == ("failed", "BadTimes", None)


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (2, 3), (9, 3)])
def test_what_the_machine_lacks_is_tried_again_in_the_worker(monkeypatch, failures, tries):
    monkeypatch.setattr(second_try, "PAUSES_S", (0.0, 0.0))
    tried: list[int] = []

    def open_a_file() -> str:
        tried.append(len(tried))
        if len(tried) <= failures:
            raise OSError(24, "Too many open files")
        return "opened"

    if failures < tries:
        assert second_try.persistently(open_a_file) == "opened"
    else:
        with pytest.raises(OSError, match="Too many open files"):
            second_try.persistently(open_a_file)
    assert len(tried) == tries


def test_a_fault_of_the_clip_is_not_tried_again():
    tried: list[int] = []

    def decode() -> None:
        tried.append(1)
        raise BadTimes("end before start")

    with pytest.raises(BadTimes):
        second_try.persistently(decode)
    assert tried == [1]


def test_no_id_names_a_path(tmp_path):
    make_store(str(tmp_path / "in"))  # a stage writes nothing by itself
    for name in ("../../etc/x", "/abs", "a/b", "-rf", "..", "\x00"):
        assert part_name(name).replace(".parquet", "").isalnum()


@pytest.mark.parametrize("name", ["av1.mkv", "h265_10bit.mp4", "v_ZNVhz7ctTq0.mp4"])
def test_every_kind_of_clip_keeps_36_db_in_its_worst_frame(clips_dir, name):
    frames, _ = decode_in_child(str(clips_dir / name), None, 1.0, 25, 256)
    columns = make_convert(IngestConfig(streams=("rgb",)))(row(clips_dir / name, end_s=1.0))
    decoded = decode_video(columns["video"].read(), np.arange(len(frames)))
    worst = min(
        10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean()) for a, b in zip(frames, decoded, strict=True)
    )
    assert worst >= 36
    assert columns["video_psnr"] == pytest.approx(worst, abs=1e-3)
