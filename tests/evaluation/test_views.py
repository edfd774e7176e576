"""Views of a clip that is decoded once."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.clips.crops import view_crops
from pipeline.clips.index import ClipIndex
from pipeline.clips.sampling import DECODE
from pipeline.config import ClipsConfig
from pipeline.evaluation.protocols import PROTOCOLS, central, views
from pipeline.evaluation.views import ViewSampler
from tests.shards.sets import make_set

WINDOW = ClipsConfig(frames=4, stride=2, crop=16)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Two clips, of 9 and 12 frames of 32 x 48."""
    return ClipIndex.load(make_set(tmp_path_factory.mktemp("shards")).path, "train")


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("protocol", [PROTOCOLS["resnet3d"], PROTOCOLS["i3d"], views(3, 10)], ids=str)
def test_views_cut_from_a_clip_decoded_once_are_those_decoded_one_by_one(index, protocol, stream):
    sampler = ViewSampler(WINDOW, protocol)
    for row in (0, 1):
        length, (height, width) = int(index.length(stream)[row]), map(int, index.size[row])
        frames, (_, places) = sampler(index, row, stream), sampler.views(length, stream)
        side = WINDOW.crop if protocol.whole_side else WINDOW.short_side
        for number, crop in enumerate(view_crops(height, width, side, WINDOW.crop, protocol.crops)):
            for window, place in zip(protocol.windows(length, WINDOW, stream), places, strict=True):
                alone = crop.apply(DECODE[stream](index.blob(row, stream), window), is_flow=stream == "flow")
                assert np.array_equal(frames[number][place], alone)


@pytest.mark.parametrize("protocol", [PROTOCOLS["resnet3d"], PROTOCOLS["t3d"], views(2, 3)], ids=str)
def test_after_training_at_several_scales_a_view_spans_the_shorter_side_under_any_protocol(index, protocol):
    clips = replace(WINDOW, augment="multi_scale_corner_crop", short_side=None)
    frames = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None, None] * 8, (2, 32, 48, 3)).copy()
    crop = ViewSampler(clips, protocol).crops(frames, "rgb")
    assert crop.shape[2:] == (clips.crop, clips.crop, 3)
    assert (crop[:, :, 0].max() <= 8, crop[:, :, -1].min() >= 30 * 8) == (True, True)  # from the first row to the last


def test_clips_share_a_group_where_their_views_have_the_same_places(index):
    groups, counts = ViewSampler(WINDOW, PROTOCOLS["i3d"]).groups(index, ["rgb", "flow"])
    assert len(set(groups)) == len(set(zip(-(-index.num_frames // 2), -(-index.num_flow // 2), strict=True)))
    assert counts.tolist() == [1] * len(counts)
    groups, counts = ViewSampler(WINDOW, central(1)).groups(index, ["rgb"])
    assert groups.tolist() == [0] * len(index)
    assert ViewSampler(WINDOW, views(2, 3)).groups(index, ["rgb"])[1].tolist() == [
        6,
        6,
    ]
