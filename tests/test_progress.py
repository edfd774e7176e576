"""Progress lines: share done, rate, time left."""

from types import SimpleNamespace

import pytest

from pipeline.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (9.4, "0:09"), (59.6, "1:00"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_a_duration_reads_like_a_clock(seconds, text):
    assert duration(seconds) == text


def test_a_line_tells_share_rate_and_time_left():
    progress = Progress("ingest", 640, every_s=1e9, write=lambda line: None)
    progress.advance(0)
    progress.advance(120)
    assert progress.line(15) == "ingest 120/640 (19 %), 8.0/s, 1:05 left"  # 520 / 8 = 65 s
    assert progress.line(15, "2 failed") == "ingest 120/640 (19 %), 8.0/s, 1:05 left, 2 failed"


def test_what_the_first_one_took_is_the_start_and_does_not_count(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("pipeline.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    lines: list[str] = []
    progress = Progress("ingest", 101, every_s=0, write=lines.append)
    for now[0] in (30.0, 31.0, 32.0):
        progress.advance()
    assert lines == [
        "ingest 1/101 (1 %), 0.0/s, 0:30",
        "ingest 2/101 (2 %), 1.0/s, 1:39 left",
        "ingest 3/101 (3 %), 1.0/s, 1:38 left",
    ]


def test_before_the_first_and_after_the_last_the_line_tells_the_time_taken():
    progress = Progress("flow", 4, every_s=1e9, write=lambda line: None)
    assert progress.line(7) == "flow 0/4 (0 %), 0.0/s, 0:07"
    progress.advance(4)
    assert progress.line(8) == "flow 4/4 (100 %), 0.5/s, 0:08"


def test_nothing_to_do_is_no_division_by_zero():
    assert Progress("flow", 0, write=lambda line: None).line(0) == "flow 0/0 (0 %), 0.0/s, 0:00"


def test_lines_between_are_rare_and_the_last_always_comes():
    lines: list[str] = []
    progress = Progress("clips", 1000, every_s=1e9, write=lines.append)
    for _ in range(1000):
        progress.advance()
    assert len(lines) == 1
    assert lines[0].startswith("clips 1000/1000 (100 %)")


def test_every_advance_is_shown_where_no_time_must_pass():
    lines: list[str] = []
    progress = Progress("clips", 3, every_s=0, write=lines.append)
    for failed in range(3):
        progress.advance(note=f"{failed} failed")
    assert [line.split(" (")[0] for line in lines] == ["clips 1/3", "clips 2/3", "clips 3/3"]
    assert lines[2].endswith("2 failed")


def test_lines_go_to_stderr_by_default(capsys):
    Progress("clips", 1).advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("clips 1/1 (100 %)")
