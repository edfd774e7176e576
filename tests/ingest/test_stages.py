"""Stages without Ray: rows in, rows out, failures passed along."""

import json
import sys
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.config import FlowConfig, IngestConfig
from pipeline.flow import dequantise, tvl1
from pipeline.ingest import second_try
from pipeline.ingest.decode import child_process
from pipeline.ingest.encode import encode_clip, worst_psnr
from pipeline.ingest.stages import make_decode, make_encode, make_flow
from pipeline.ingest.staging import make_store, part_name
from pipeline.shards import SHARD_SCHEMA, decode_flow, decode_video

FAST = IngestConfig(short_side=64, flow=FlowConfig(nscales=2, warps=1, epsilon=0.1))


def row(source, **changes):
    return {
        "clip_id": "k.a.0-1", "dataset": "k", "split": "train", "label": "a", "label_id": 0, "source": str(source),
        "start_s": None, "end_s": None, "status": None, "error_class": None, "error_message": None, **changes,
    }  # fmt: skip


def test_a_clip_goes_through_all_stages_and_comes_back_whole(clips_dir, tmp_path):
    decoded = make_decode(FAST)(row(clips_dir / "h265_10bit.mp4"))
    frames = decoded["frames"]
    encoded = make_encode(FAST)(make_flow(FAST)(decoded))
    status = make_store(str(tmp_path))(encoded)
    assert status["status"] == "ok"
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


def test_a_failed_row_passes_through_untouched_and_is_written(tmp_path):
    failed = row("/nowhere/x.mp4", status="failed", error_class="BadTimes", error_message="end 1 s is before 2 s")
    for stage in (make_decode(FAST), make_flow(FAST), make_encode(FAST)):
        assert stage(dict(failed)) == failed
    make_store(str(tmp_path))(failed)
    (stored,) = pq.read_table(tmp_path / part_name("k.a.0-1")).to_pylist()
    assert (stored["status"], stored["error_class"], stored["video"]) == ("failed", "BadTimes", None)


def test_a_bad_clip_becomes_a_status_and_lets_go_of_its_arrays(clips_dir):
    after = make_decode(FAST)(row(clips_dir / "corrupted.mp4"))
    assert (after["status"], after["error_class"]) == ("failed", "DecodeError")
    assert "frames" not in after


def test_an_unforeseen_error_is_that_clips_row_too(clips_dir):
    decoded = make_decode(FAST)(row(clips_dir / "h265_10bit.mp4"))
    after = make_flow(FAST)({**decoded, "frames": "no array"})
    assert after["error_class"] == "TypeError"
    assert after["error_message"].startswith("in compute_flow: frames: str")


@pytest.mark.parametrize("starts", [1, 9])
def test_what_the_machine_lacks_is_tried_again_in_the_worker(clips_dir, tmp_path, monkeypatch, starts):
    """The interpreter of the decoding process is one that cannot start at first, as on a machine out of memory."""
    python = tmp_path / "python"
    counting = f'n=$(cat "{tmp_path}/n" 2>/dev/null || echo 0); echo $((n + 1)) > "{tmp_path}/n"'
    refuse = f"[ $n -lt {starts} ] && exit 1"
    python.write_text(f'#!/bin/sh\n{counting}\n{refuse}\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(second_try, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(child_process, "_children", threading.local())
    after = make_decode(FAST)(row(clips_dir / "h265_10bit.mp4"))
    assert (tmp_path / "n").read_text() == f"{min(starts + 1, 3)}\n"
    if starts == 1:
        assert len(after["frames"]) == 25
    else:
        assert (after["status"], after["error_class"]) == ("failed", "ChildError")


def test_a_fault_of_the_clip_is_not_tried_again(clips_dir, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(second_try.time, "sleep", pauses.append)
    assert make_decode(FAST)(row(clips_dir / "corrupted.mp4"))["error_class"] == "DecodeError"
    assert make_flow(FAST)({**row("a"), "frames": "no array"})["error_class"] == "TypeError"
    assert pauses == []


def test_no_id_names_a_path(tmp_path):
    make_store(str(tmp_path / "in"))  # a stage writes nothing by itself
    for name in ("../../etc/x", "/abs", "a/b", "-rf", "..", "\x00"):
        assert part_name(name).replace(".parquet", "").isalnum()


@pytest.mark.parametrize("name", ["av1.mkv", "h265_10bit.mp4", "v_ZNVhz7ctTq0.mp4"])
def test_every_kind_of_clip_keeps_36_db_in_its_worst_frame(clips_dir, name):
    config = IngestConfig()
    frames = make_decode(config)(row(clips_dir / name, end_s=1.0))["frames"]
    columns = encode_clip(frames, 25, config.crf, config.gop, config.min_psnr)
    decoded = decode_video(columns["video"], np.arange(len(frames)))
    worst = min(
        10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean()) for a, b in zip(frames, decoded, strict=True)
    )
    assert worst >= 36
    assert columns["video_psnr"] == pytest.approx(worst, abs=1e-3)
