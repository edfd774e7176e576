"""The cpu backend's own: medians, compiled code on disk, what it counts."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numba
import numpy as np
import pytest

from pipeline.flow import tvl1
from pipeline.flow.cpu import compiled
from pipeline.flow.cpu.engine import measured, scales
from pipeline.flow.cpu.median import median3, median5
from pipeline.flow.cpu.vectors import LANES
from tests.flow.pictures import texture

FRAMES = np.stack([texture(40, 50), texture(40, 50, seed=1)])


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (4, 4), (5, 31), (16, 16), (17, 33), (60, 100)])
def test_a_median_is_opencvs_and_leaves_no_trace_behind_the_last_column(window, shape):
    height, width = shape
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    blocks = -(-width // LANES)
    plane = np.zeros((height, blocks * LANES), np.float32)
    plane[:, :width] = values
    rows = np.zeros(20 * (blocks + 2) * LANES + LANES, np.float32)
    {3: median3, 5: median5}[window](plane.reshape(-1), 0, blocks * LANES, LANES, height, width, rows)
    radius = window // 2
    around = np.pad(values, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, (window, window))
    assert np.array_equal(plane[:, :width], np.median(windows, axis=(2, 3)))
    assert not plane[:, width:].any()
    if min(shape) > 1:  # OpenCV filters a single line otherwise
        assert np.array_equal(plane[:, :width], cv2.medianBlur(values, window))


def test_the_pyramid_ends_above_16_pixels_and_rounds_halves_to_even():
    assert scales(256, 340, 5, 0.8) == [(256, 340), (205, 272), (164, 218), (131, 174), (105, 139)]
    assert scales(40, 50, 5, 0.5) == [(40, 50), (20, 25)]
    assert scales(10, 10, 5, 0.5) == [(10, 10)]


def test_work_is_counted():
    pixels = 40 * 50
    _, work = measured(FRAMES, nscales=1, warps=2, innerIterations=3, outerIterations=4, epsilon=0.0)
    assert work.iterations == 2 * 3 * 4 * pixels
    assert work.medians == 2 * 4 * pixels
    assert work.warps == 2 * pixels
    assert work.repeated == 0


def test_a_repeated_frame_costs_nothing_and_disturbs_no_neighbour():
    first, second = FRAMES
    flow, work = measured(np.stack([first, first, second, second]))
    alone, of_one = measured(FRAMES)
    assert not flow[0].any()
    assert not flow[2].any()
    assert np.array_equal(flow[1], alone[0])
    assert work == of_one


def test_the_search_of_a_repeated_frame_would_end_at_the_same_zero():
    flow, work = measured(FRAMES[[0, 0]], initial_flow=np.zeros((1, 40, 50, 2), np.float32))
    assert work.iterations > 0
    assert not flow.any()


def test_a_repeated_frame_with_an_initial_flow_is_searched():
    initial = np.full((1, 40, 50, 2), 0.25, np.float32)
    flow, work = measured(FRAMES[[0, 0]], initial_flow=initial)
    assert work.iterations > 0
    assert flow.any()  # as OpenCV's is: the search ends near zero, not at it


def test_without_a_limit_to_the_error_all_iterations_run():
    _, work = measured(FRAMES, nscales=1, warps=1, epsilon=0.0)
    assert work.iterations == 30 * 10 * 40 * 50
    assert work.repeated == 0


def test_iterations_run_together_stop_where_they_would_stop_one_by_one():
    """How many run together is guessed from the coarser scale and the pair before: here it is wrong both ways."""
    still, moving = texture(64, 64), texture(80, 80)
    clip = np.stack([still, still, moving[4:68, 6:70], moving[5:69, 6:70], moving[5:69, 6:70]])
    alone = [measured(clip[t : t + 2]) for t in range(4)]
    flow, work = measured(clip)
    assert np.array_equal(flow, np.concatenate([flow for flow, _ in alone]))
    assert work.iterations == sum(work.iterations for _, work in alone)
    assert work.repeated > sum(work.repeated for _, work in alone)


def test_threads_do_not_disturb_each_other():
    with ThreadPoolExecutor(4) as pool:
        flows = list(pool.map(lambda _: tvl1(FRAMES, "cpu"), range(8)))
    assert all(np.array_equal(flow, flows[0]) for flow in flows)


# ---------------------------------------------------------------- compiled code on disk
# A small kernel stands for the large one, which takes ten seconds to compile.
SCRIPT = """
import sys
import numpy as np
from pipeline.flow.cpu.compiled import compiled

@compiled
def double(values):
    for i in range(len(values)):
        values[i] *= 2

values = np.ones(3)
double(values)
assert values.tolist() == [2, 2, 2], values
print("loaded" if not double.stats.cache_misses else "compiled")
"""


def start(home: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home)}
    environment.pop("NUMBA_CACHE_DIR", None)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def outcome(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user's home after three processes that started at once."""
    home = tmp_path_factory.mktemp("home")
    for process in [start(home) for _ in range(3)]:
        outcome(process)
    return home


def test_processes_that_start_at_once_leave_one_file_for_the_next(home):
    assert len(list(home.rglob("*.kernel"))) == 1
    assert not list(home.rglob("tmp*"))
    assert outcome(start(home)) == "loaded"


@pytest.mark.parametrize("kept", [0, 40, -100], ids=["empty", "head", "truncated"])
def test_a_damaged_file_is_compiled_anew_and_mended(home, kept):
    (file,) = home.rglob("*.kernel")
    good = file.read_bytes()
    file.write_bytes(good[:kept])
    assert outcome(start(home)) == "compiled"
    mended = file.read_bytes()
    assert mended[:32] == hashlib.sha256(mended[32:]).digest()


def test_where_nothing_can_be_written_it_is_compiled_all_the_same(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")  # where the folders should be: no one, not even root, can write below it
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(file / "numba"))
    monkeypatch.setattr(compiled, "AppDirs", lambda **_: SimpleNamespace(user_cache_dir=str(file / "user")))
    monkeypatch.setattr(compiled.tempfile, "gettempdir", lambda: str(file))
    assert list(compiled._folders()) == []
    assert compiled.compiled(_twice)(3) == 6


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path, monkeypatch):
    tmp_path.chmod(0o777)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert tmp_path not in compiled._folders()


def _twice(value):
    return 2 * value


def test_importing_flow_imports_no_compiler():
    code = "import sys, pipeline.flow; print(sorted({'numba', 'llvmlite', 'torch'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
