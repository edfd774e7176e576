"""A worker that is killed with SIGKILL at any clip: who does its unit again ends with the same bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.features.results import read_videos
from pipeline.ingest.staging import list_of, list_staging
from tests.ingest.videos import make_video

CHECKOUT = Path(__file__).parents[2]
WORKER = """
import sys
import numpy as np
from pathlib import Path
from pipeline.config import IngestConfig
from pipeline.features.extraction import Cutting
from pipeline.features.results import Joiner, make_store, schema_of
from pipeline.features.run import Work
from pipeline.features.videos import named_catalog
from pipeline.features.windows import Windows
from pipeline.ingest.ledger import Reporter
from pipeline.ingest.layout import layout_of
from pipeline.ingest.shard_task import ShardTask
from pipeline.ingest.units import Unit

class Alone(Reporter):
    def __init__(self): pass
    def begin(self, clip): return 0
    def end(self, clip, status): print(status["status"], flush=True); sys.stdin.readline()

def score(views):
    made = {"rgb_x": np.stack([view["rgb"].mean((0, 1)).astype(np.float32).ravel()[:6] for view in views])}
    return lambda: made

out, videos = sys.argv[1:]
cut = Cutting(Windows(8, 1, 3, "pad"), 25, None, 16, 1, 1, ("rgb",), 4)
work = Work(IngestConfig(short_side=16), cut, score, None, schema_of({"rgb_x": (6,)}), "")
task = ShardTask(out, work, None, None, listed=False, store=make_store, join=Joiner("parquet", {}))
layout = layout_of(named_catalog([videos]), 8)
left = task.do(Unit(layout.names[0], layout.of(0), True, False), True, Alone())
print("left", left)
"""


def worker(out: Path, videos: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", WORKER, str(out), str(videos)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen) -> list[str]:
    """Let a worker do all that is left, and return what it says of each clip."""
    said, _ = process.communicate("\n" * 100, timeout=120)
    assert process.returncode == 0
    return said.split("\n")[:-1]


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_does_nothing_twice(tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "videos").mkdir()
    for number in range(4):
        pictures = [draw.integers(0, 256, (2, 3, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(12)]
        make_video(tmp_path / "videos" / f"{number}.mp4", frames=12, size=(24, 16), arrays=pictures)
    (tmp_path / "videos" / "broken.mp4").write_text("no video")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert sorted(ended(worker(whole, tmp_path / "videos"))) == ["failed", "left 0", *["ok"] * 4]
    first = worker(killed, tmp_path / "videos")
    for _ in range(2):
        first.stdout.readline()
        first.stdin.write("\n")
        first.stdin.flush()
    first.stdout.readline()  # three clips are staged
    first.send_signal(signal.SIGKILL)
    first.communicate()
    (name,) = list_staging(str(killed)).files
    lost = killed / "_staging" / name / ("f" * 32 + ".parquet")
    lost.touch()  # what a machine without power may leave
    assert len(ended(worker(killed, tmp_path / "videos"))) == 2 + 1
    lost.unlink()
    assert (killed / f"{name}.parquet").read_bytes() == (whole / f"{name}.parquet").read_bytes()
    assert read_videos(list_of(str(killed), name)).equals(read_videos(list_of(str(whole), name)))
