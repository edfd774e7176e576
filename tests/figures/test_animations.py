"""Clips as animated pictures that a browser can show."""

import io

import numpy as np
from PIL import Image

from pipeline.figures.animations import animate, flow_pictures
from pipeline.flow import colour, quantise


def test_a_clip_becomes_a_gif_of_its_frames_with_the_flow_beside_them():
    frames = np.repeat(np.arange(0, 250, 50, dtype=np.uint8), 20 * 30 * 3).reshape(5, 20, 30, 3)
    flow = np.full((4, 20, 30, 2), 255, np.uint8)  # the bound, to the right and down: here what is longest
    expected = colour(np.full((1, 1, 2), 5.0, np.float32), 5.0 * 2**0.5)[0, 0]
    alone = Image.open(io.BytesIO(animate(frames, height=40)))
    assert (alone.format, alone.n_frames, alone.size) == ("GIF", 5, (60, 40))
    beside = Image.open(io.BytesIO(animate(frames, flow, bound=5.0, height=40)))
    assert (beside.n_frames, beside.size, beside.info["loop"]) == (5, (120, 40), 0)
    for number in range(5):
        beside.seek(number)
        picture = np.asarray(beside.convert("RGB")).astype(int)
        assert np.abs(picture[:, :60] - 50 * number).max() < 12
        assert np.abs(picture[:, 60:] - expected).max() < 12


def test_what_does_not_move_is_white_beside_what_does():
    flow = quantise(np.zeros((3, 8, 8, 2), np.float32), 20.0)
    assert (flow_pictures(flow, 20.0) == 255).all()
    flow[:, :4] = 160
    shown = flow_pictures(flow, 20.0)
    assert (shown[:, 4:] == 255).all()
    assert (shown[:, :4] != 255).any(axis=-1).all()
