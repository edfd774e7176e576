"""How far a long clip is: its stage says it, the ledger knows it until the clip ends, and a line shows it."""

import pytest

from pipeline.config import IngestConfig
from pipeline.ingest import within
from pipeline.ingest.attempts import counted
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.progress_report import Tally
from pipeline.ingest.stages import make_convert
from pipeline.ingest.within import heard, reached
from tests.ingest.videos import make_video

DONE = {"provisional": False, "status": "ok", "error_class": None, "num_frames": 1, "num_flow": 0, "fetched": 0}


class Here:
    """A task's view of a ledger without Ray."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.within = ledger, ledger.within

    def begin(self, clip: str) -> int:
        return self.ledger.turn([], clip)[0]

    def end(self, clip: str, status: dict) -> None:
        self.ledger.turn([(clip, DONE)])


def test_a_stage_says_how_far_it_is_and_the_ledger_forgets_it_with_the_clip(tmp_path, monkeypatch):
    monkeypatch.setattr(within, "EVERY_S", 0.0)
    ledger, lines = Ledger(), list[str]()
    monkeypatch.setattr("pipeline.progress.QUIET_S", 0.0)
    tally = Tally(2, 0, lines.append, "features")

    def store(row):
        news = ledger.news()  # while the clip is at work
        tally.within(news.within)
        tally.within(news.within)  # no news
        return row

    row = {"clip_id": "videos.long", "source": str(make_video(tmp_path / "a.mp4", frames=100)), "status": None}
    convert = make_convert(IngestConfig(streams=("rgb",), short_side=48))
    done = counted({**row, "start_s": None, "end_s": None}, convert, store, Here(ledger))
    assert done["num_frames"] == 100
    (line,) = lines
    assert line.startswith("features 0/2 (0 %), 0.0/s, ")
    assert line.endswith(", in long clips: videos.long at 0:04")
    assert ledger.news().within == {}


@pytest.mark.parametrize(("every_s", "told"), [(0.0, [1.0, 2.0]), (1e9, [])])
def test_only_what_runs_inside_is_heard_and_not_too_often(monkeypatch, every_s, told):
    monkeypatch.setattr(within, "EVERY_S", every_s)
    seconds = list[float]()
    reached(0.5)
    with heard(seconds.append):
        reached(1.0)
        reached(2.0)
    reached(3.0)
    assert seconds == told
