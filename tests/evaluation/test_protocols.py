"""What each published protocol shows of a clip: counted by hand for a Kinetics clip, 10 s at 25 frames a second."""

import pickle

import numpy as np
import pytest

from pipeline.clips.crops import Crop, view_crops
from pipeline.clips.order import view_batches
from pipeline.clips.windows import consecutive_windows, sliding_windows, snapshots, spread_windows
from pipeline.command_line import override
from pipeline.config import ClipsConfig, Config, ConfigError
from pipeline.evaluation.protocols import PROTOCOLS, Protocol, central, protocol_of, views
from pipeline.models import list_models

# protocol, training window (frames, stride), stream, frames of the clip -> windows, frames of each, first and last
KINETICS = [
    ("i3d", (64, 1), "rgb", 250, 1, 250, 0, 249),  # Quo Vadis, Table 1 (e): 250 frames
    ("i3d", (64, 1), "flow", 249, 1, 249, 0, 248),
    ("lstm", (25, 5), "rgb", 250, 1, 50, 0, 245),  # Table 1 (a): 50 frames, 10 s
    ("c3d", (16, 1), "rgb", 250, 15, 16, 0, 239),  # Table 1 (b): 240 frames
    ("two_stream", (1, 1), "rgb", 250, 1, 25, 5, 245),  # Table 1 (c), (d): 25 frames
    ("two_stream", (1, 1), "flow", 249, 1, 250, 0, 248),  # and 250 of flow
    ("t3d", (32, 1), "rgb", 250, 7, 32, 0, 223),  # 7 * 32 = 224
    ("t3d", (32, 2), "rgb", 250, 3, 32, 0, 190),  # 125 frames, 3 * 32 = 96 of them
    ("resnet3d", (16, 1), "rgb", 250, 16, 16, 0, 249),  # 15 * 16 + 10
    ("resnet3d", (64, 1), "rgb", 250, 4, 64, 0, 249),  # 3 * 64 + 58
    ("resnet3d", (16, 1), "rgb", 257, 16, 16, 0, 255),  # a single frame that is left is no window
    ("resnet3d", (16, 1), "rgb", 258, 17, 16, 0, 257),
]


def asked_for(config: Config) -> Protocol:
    return protocol_of(config.evaluation, config.model)


@pytest.mark.parametrize(("name", "window", "stream", "length", "count", "frames", "first", "last"), KINETICS)
def test_a_protocol_shows_as_much_of_a_clip_as_its_paper_says(name, window, stream, length, count, frames, first, last):
    clips = ClipsConfig(frames=window[0], stride=window[1])
    windows = PROTOCOLS[name].windows(length, clips, stream)
    assert windows.shape == (count, frames)
    assert (windows.min(), windows.max()) == (first, last)


def test_only_3d_resnets_average_probabilities_and_see_the_whole_shorter_side():
    assert {name for name, each in PROTOCOLS.items() if each.average == "softmax"} == {"resnet3d"}
    assert {name for name, each in PROTOCOLS.items() if each.whole_side} == {"resnet3d"}
    assert views(10, 3).average == "softmax"


@pytest.mark.parametrize(
    ("length", "frames", "stride", "consecutive", "sliding"),
    [
        (7, 3, 1, [[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [3, 4, 5]]),
        (8, 3, 1, [[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [3, 4, 5], [6, 7, 6]]),  # the rest loops over itself
        (6, 3, 1, [[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [3, 4, 5]]),
        (2, 5, 1, [[0, 1, 0, 1, 0]], [[0, 1, 0, 1, 0]]),
        (1, 2, 1, [[0, 0]], [[0, 0]]),
        (9, 2, 2, [[0, 2], [4, 6]], [[0, 2], [4, 6]]),
        (11, 2, 2, [[0, 2], [4, 6], [8, 10]], [[0, 2], [4, 6], [8, 10]]),
    ],
)
def test_windows_end_to_end_with_and_without_the_rest(length, frames, stride, consecutive, sliding):
    assert consecutive_windows(length, frames, stride).tolist() == consecutive
    assert sliding_windows(length, frames, stride).tolist() == sliding


def test_windows_are_spread_from_the_first_start_to_the_last():
    assert spread_windows(10, 4, 1, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert spread_windows(10, 4, 1, 1).tolist() == [[3, 4, 5, 6]]
    assert spread_windows(250, 32, 2, 10)[:, 0].tolist() == [0, 20, 41, 62, 83, 103, 124, 145, 166, 187]
    assert spread_windows(3, 4, 1, 2).tolist() == [[0, 1, 2, 0], [0, 1, 2, 0]]


def test_snapshots_lie_in_the_middle_of_equal_parts_with_flow_around_each():
    assert snapshots(250, 25, 1).tolist() == list(range(5, 250, 10))
    assert snapshots(20, 2, 4).tolist() == [3, 4, 5, 6, 13, 14, 15, 16]
    assert snapshots(20, 2, 12).tolist() == [*range(12), *range(8, 20)]  # moved inwards at both ends
    assert snapshots(3, 2, 4).tolist() == [0, 1, 2, 0] * 2  # looped where there are too few


def test_the_crops_of_a_test_span_the_frame():
    assert view_crops(256, 340, None, 224, 1) == [Crop(None, 16, 58, 224)]
    assert [(crop.top, crop.left) for crop in view_crops(256, 340, None, 256, 3)] == [(0, 0), (0, 42), (0, 84)]
    assert [(crop.top, crop.left) for crop in view_crops(340, 256, None, 224, 3)] == [(0, 16), (58, 16), (116, 16)]
    assert [(crop.top, crop.left) for crop in view_crops(30, 20, None, 10, 5)] == [
        (0, 0), (0, 10), (20, 0), (20, 10), (10, 5),
    ]  # fmt: skip
    ten = view_crops(30, 20, None, 10, 10)
    assert [crop.flip for crop in ten] == [False] * 5 + [True] * 5
    assert len(set(ten)) == 10
    assert view_crops(256, 340, 112, 112, 1) == [Crop(112, 0, 18, 112)]  # 112 x 149: the whole shorter side


def test_every_network_has_a_protocol_of_its_own():
    for info in list_models():
        protocol = asked_for(override(Config(), {"model.name": info.name}))
        assert protocol.name == info.protocol
        assert protocol.windows(250, ClipsConfig(), "rgb").max() < 250


def test_the_config_chooses_the_protocol():
    asked = {"evaluation.protocol": "views", "evaluation.views": "4", "evaluation.crops": "5"}
    protocol = asked_for(override(Config(), asked))
    assert protocol.crops == 5
    assert protocol.windows(100, ClipsConfig(frames=8), "rgb").shape == (4, 8)
    assert str(protocol) == "views (4 clips; 5 crops, softmax averaged)"
    centre = asked_for(override(Config(), {"evaluation.frames": "6"}))
    assert centre.windows(10, ClipsConfig(), "rgb").tolist() == [[2, 3, 4, 5, 6, 7]]
    assert centre.windows(10, ClipsConfig(), "rgb").tolist() == central(6).windows(10, ClipsConfig(), "rgb").tolist()


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"evaluation.protocol": "ten_crop"}, r"evaluation\.protocol: 'ten_crop'.*one of: auto, i3d"),
        ({"evaluation.crops": "2"}, r"evaluation\.crops: 2|evaluation\.crops: '2'"),
        ({"model.name": "new"}, r"model\.name: new: no such network"),
        ({"evaluation.protocol": "two_stream"}, "two_stream does not fit i3d"),
        ({"evaluation.protocol": "views", "model.name": "fused_two_stream"}, "views does not fit fused_two_stream"),
        ({"model.name": "c3d", "evaluation.frames": "16"}, r"evaluation\.frames: 16 is for .* i3d, not c3d"),
    ],
)
def test_a_protocol_that_is_not_there_is_one_line(asked, line):
    with pytest.raises(ConfigError, match=line) as raised:
        asked_for(override(Config(), asked))
    assert "\n" not in str(raised.value)


def test_a_batch_holds_whole_clips_of_one_group_and_few_views():
    groups, counts = np.array([0, 1, 0, 1, 0, 1, 0]), np.array([2, 30])
    batches = [batch.tolist() for batch in view_batches(groups, counts, 4)]
    assert batches == [[0, 2], [4, 6], [1], [3], [5]]


def test_published_protocols_travel_to_workers():
    assert pickle.loads(pickle.dumps(PROTOCOLS)) == PROTOCOLS  # noqa: S301


def test_a_temporal_segment_network_is_tested_on_the_middle_of_each_part_and_averages_logits():
    asked = {"evaluation.protocol": "tsn", "evaluation.views": "25", "evaluation.crops": "1", "model.name": "t3d121"}
    protocol = asked_for(override(Config(), asked))
    windows = protocol.windows(250, ClipsConfig(frames=32, stride=2), "rgb")
    assert (windows.shape, windows[0, 0], windows[-1, 0]) == ((25, 32), 3, 184)  # 188 starts in 25 parts
    assert (protocol.average, protocol.crops) == ("logits", 1)
