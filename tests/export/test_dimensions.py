"""Which axes of each network an export leaves open, and what a check shows it."""

import numpy as np
import pytest

from pipeline.export.check import Agreement, variants
from pipeline.export.dimensions import AXES, axes, axis_names, dynamic_shapes
from pipeline.models import list_models

NETWORKS = [info.name for info in list_models()]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_axis_is_open_or_says_why_not(name):
    found = axes(name)
    assert [axis.name for axis in found] == list(AXES)
    fixed = {axis.name for axis in found if axis.fixed}
    times = {key: {"time"} for key in ("convnet_lstm", "single_stream", "fused_single_stream")}
    assert fixed == {"c3d": {"height", "width"}, **times}.get(name, set())


def test_streams_share_all_axes_but_time():
    names = axis_names("two_stream_i3d", ("rgb", "flow"))
    assert names["rgb"] == {0: "batch", 1: "rgb_time", 2: "height", 3: "width"}
    assert names["flow"] == {0: "batch", 1: "flow_time", 2: "height", 3: "width"}
    assert axis_names("i3d", ("flow",)) == {"flow": {0: "batch", 1: "time", 2: "height", 3: "width"}}


def test_snapshots_have_ten_flow_frames_each():
    shapes = dynamic_shapes("two_stream", ("rgb", "flow"))
    assert str(shapes["flow"][1].__name__) == "10*rgb_time"


def shapes_of(name: str, **view: tuple[int, ...]) -> list[dict[str, tuple[int, ...]]]:
    arrays = {stream: np.zeros(shape, np.uint8) for stream, shape in view.items()}
    return [{stream: clip.shape for stream, clip in batch.items()} for batch in variants(name, arrays)]


def test_every_open_axis_of_a_real_clip_is_tried_with_two_lengths():
    assert shapes_of("i3d", rgb=(1, 16, 112, 112, 3)) == [
        {"rgb": (1, 16, 112, 112, 3)},
        {"rgb": (2, 16, 112, 112, 3)},
        {"rgb": (1, 12, 112, 112, 3)},
        {"rgb": (1, 16, 85, 99, 3)},
    ]


def test_fixed_axes_keep_their_length():
    assert shapes_of("c3d", rgb=(1, 16, 112, 112, 3))[2:] == [{"rgb": (1, 12, 112, 112, 3)}]
    assert [each["rgb"][1] for each in shapes_of("convnet_lstm", rgb=(1, 25, 112, 112, 3))] == [25, 25, 25]


def test_snapshots_lose_whole_snapshots():
    shapes = shapes_of("two_stream", rgb=(1, 4, 64, 64, 3), flow=(1, 40, 64, 64, 2))
    assert {"rgb": (1, 3, 64, 64, 3), "flow": (1, 30, 64, 64, 2)} in shapes


def test_an_agreement_is_as_good_as_its_worst_logit():
    agreement = Agreement("rgb.onnx")
    assert not agreement.good  # nothing was compared
    agreement.add(np.array([[1.0, 5.0]], np.float32), np.array([[1.0, 5.0004]], np.float32))
    assert agreement.good
    agreement.add(np.array([[9.0, 1.0]], np.float32), np.array([[1.0, 9.0]], np.float32))
    assert (agreement.good, agreement.clips, agreement.same) == (False, 2, 1)
    nan = Agreement("rgb.onnx")
    nan.add(np.array([[1.0, 5.0]], np.float32), np.array([[np.nan, 5.0]], np.float32))
    assert not nan.good
