"""Class-activation maps as animated pictures: bright where the map is, as many pictures as the clip has frames."""

import io

import numpy as np
from PIL import Image

from pipeline.figures.overlays import Row, attention_animation, heat


def test_heat_is_where_the_map_is_and_nowhere_else():
    frames = np.full((3, 40, 40, 3), 100, np.uint8)
    maps = np.zeros((3, 4, 4), np.float32)
    maps[1, 0, 3] = 2.0
    maps[1, 3, 0] = -2.0
    shown = heat(frames, maps, most=2.0).astype(int)
    assert np.ptp(shown[0]) == np.ptp(shown[2]) == 0  # grey, all of it alike
    changed = np.abs(shown[1] - shown[0]).sum(axis=-1)
    assert np.unravel_index(changed.argmax(), changed.shape)[0] < 10
    assert np.unravel_index(changed.argmax(), changed.shape)[1] >= 30
    assert changed[20:, :].max() == 0  # what speaks against the class stays clear
    assert heat(frames, maps * 0, most=0.0).shape == frames.shape


def test_a_clip_of_two_streams_is_one_picture_of_two_rows_at_the_pace_of_the_first():
    rng = np.random.default_rng(0)
    rgb = Row("rgb", rng.integers(0, 256, (6, 30, 30, 3), dtype=np.uint8), rng.normal(size=(2, 6, 4, 4)).astype("f4"))
    flow = Row("flow", rng.integers(0, 256, (60, 30, 30, 3), dtype=np.uint8), np.zeros((2, 60, 4, 4), "f4"))
    one = Image.open(io.BytesIO(attention_animation(["title"], [rgb], ["a", "b"])))
    both = Image.open(io.BytesIO(attention_animation(["title", "x" * 500], [rgb, flow], ["a", "\n<b>" * 90])))
    assert (one.format, one.n_frames, both.n_frames, both.info["loop"]) == ("GIF", 6, 6, 0)
    assert both.height > 1.8 * one.height
