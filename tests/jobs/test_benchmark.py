"""The benchmark: one line a clip, size and backend, and the same as JSON."""

import json

import pytest

from jobs.benchmark import main
from pipeline.benchmarks.flow import available


def test_flow_is_measured_for_every_backend_at_both_sizes(clips_dir, tmp_path, capsys):
    clip, file = clips_dir / "h265_10bit.mp4", tmp_path / "flow.json"
    main(["flow", str(clip), "--pairs", "1", "--repeats", "1", "--json", str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["clip", "size", "backend"]
    figures = json.loads(file.read_text())
    assert [(line["size"], line["backend"]) for line in figures] == [
        (size, backend) for size in ("256x256", "224x224") for backend in available()
    ]
    for line in figures:
        assert (line["ratio"] == 1) == (line["backend"] == "opencv")
        assert line["pairs_per_s"] > 0
        assert line["mean_px"] < 0.05
        assert line["kinetics_hours"] == pytest.approx(60e6 / line["pairs_per_s"] / 3600)


def test_a_clip_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["flow", "nowhere.mp4"])
    assert capsys.readouterr().err == "error: nowhere.mp4: no such file\n"
