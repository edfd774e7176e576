"""What an ingest costs its driver grows with the number of clips, and no faster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def cost(clips: int, folder: Path) -> dict[str, float]:
    """Seconds of the driver and its memory, for so many clips that cost nothing."""
    command = [sys.executable, "-m", "tests.ingest.many_clips", str(clips), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.ray
@pytest.mark.skipif("MANY_CLIPS" not in os.environ, reason="takes minutes; MANY_CLIPS=1 runs it")
def test_ten_times_as_many_clips_cost_the_driver_ten_times_as_much(tmp_path):
    """Factors are generous: what grows faster than the catalog was 20 times as much and more."""
    small, large = cost(20_000, tmp_path / "small"), cost(200_000, tmp_path / "large")
    assert large["driver_s"] / large["clips"] < 2 * small["driver_s"] / small["clips"]
    grown = [(one["peak_mb"] - one["before_mb"]) for one in (small, large)]
    assert grown[1] < 15 * max(grown[0], 50)
    assert large["rows"] < 2 * small["rows"] + 200_000 / 512
