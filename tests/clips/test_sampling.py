"""One window of one clip, decoded from a real shard."""

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.clips.index import ClipIndex
from pipeline.clips.sampling import CentreSampler, TrainingSampler
from pipeline.config import ClipsConfig
from pipeline.shards import CLIPS_SCHEMA, SHARD_SCHEMA, CodecError, encode_video
from pipeline.shards.manifest import summarise, write_manifest
from pipeline.shards.tables import write_table
from tests.clips.levels import levels
from tests.shards.sets import clip_row, make_set

WINDOW = ClipsConfig(frames=4, stride=2, crop=16, flip=True)
TRAIN = ("clip-0", "clip-3")  # 9 and 12 frames of 32 x 48


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def index(made):
    return ClipIndex.load(made.path, "train")


def shown(made, clip, window):
    """Which frames of the clip an RGB window shows, by their grey level."""
    first, second = made.frames[clip][:2, 0, 0, 0].astype(float)
    return np.rint((levels(window).mean(axis=(1, 2, 3)) - first) / (second - first)).astype(int).tolist()


def places(fields, window):
    """Every (start, top, left, flip) at which the flow of a clip gives this window."""
    frames, side = window.shape[:2]
    straight, mirrored = window, window[:, :, ::-1].copy()
    mirrored[..., 0] = 255 - mirrored[..., 0]
    found = []
    for flip, seen in ((False, straight), (True, mirrored)):
        corners = fields[:, : fields.shape[1] - side + 1, : fields.shape[2] - side + 1]
        for start, top, left in np.argwhere((corners == seen[0, 0, 0]).all(axis=-1)).tolist():
            clip = fields[(start + WINDOW.stride * np.arange(frames)) % len(fields)]
            if np.array_equal(clip[:, top : top + side, left : left + side], seen):
                found.append((start, top, left, flip))
    return found


# ---------------------------------------------------------------- training
@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 2)])
def test_a_training_window_has_its_shape(index, stream, channels):
    window = levels(TrainingSampler(WINDOW, seed=0, epoch=0)(index, 1, stream))
    assert window.shape == (4, 16, 16, channels)
    assert window.dtype == np.uint8
    assert window.flags.c_contiguous


@pytest.mark.parametrize("row", [0, 1])
def test_a_window_of_flow_is_exactly_a_part_of_the_clip(made, index, row):
    for epoch in range(4):
        window = TrainingSampler(WINDOW, seed=0, epoch=epoch)(index, row, "flow")
        assert len(places(made.levels[TRAIN[row]], window)) == 1


@pytest.mark.parametrize("row", [0, 1])
def test_a_window_of_rgb_shows_frames_of_its_clip_at_the_stride(made, index, row):
    for epoch in range(8):
        frames = shown(made, TRAIN[row], TrainingSampler(WINDOW, seed=0, epoch=epoch)(index, row, "rgb"))
        assert np.diff(frames).tolist() == [2, 2, 2]
        assert 0 <= frames[0] <= len(made.frames[TRAIN[row]]) - 7


def test_a_clip_that_is_too_short_is_looped(made, index):
    long = replace(WINDOW, frames=12, stride=1)
    assert shown(made, "clip-0", TrainingSampler(long, 0, 0)(index, 0, "rgb")) == [*range(9), 0, 1, 2]
    flow = TrainingSampler(long, 0, 0)(index, 0, "flow")
    assert np.array_equal(flow[8:], flow[:4])


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_a_window_is_that_of_its_seed_epoch_and_clip(index, stream):
    def window(seed, epoch, row):
        return levels(TrainingSampler(WINDOW, seed, epoch)(index, row, stream))

    assert np.array_equal(window(1, 2, 1), window(1, 2, 1))
    for other in ((2, 2, 1), (1, 3, 1), (1, 2, 0)):
        assert not np.array_equal(window(1, 2, 1), window(*other))


def test_a_window_does_not_depend_on_what_was_sampled_before(index):
    sampler = TrainingSampler(WINDOW, seed=0, epoch=0)
    alone = sampler(index, 1, "flow")
    for row, stream in [(0, "rgb"), (0, "flow"), (1, "rgb")]:
        sampler(index, row, stream)
    assert np.array_equal(sampler(index, 1, "flow"), alone)


def test_epochs_see_many_windows_and_both_mirrorings(made, index):
    seen = [
        places(made.levels["clip-3"], TrainingSampler(WINDOW, 0, epoch)(index, 1, "flow"))[0] for epoch in range(24)
    ]
    assert {start for start, *_ in seen} == set(range(5))  # 11 - 6
    assert len({(top, left) for _, top, left, _ in seen}) > 18
    assert 4 < sum(flip for *_, flip in seen) < 20


def test_without_flip_no_window_is_mirrored(made, index):
    straight = replace(WINDOW, flip=False)
    for epoch in range(8):
        ((*_, flip),) = places(made.levels["clip-3"], TrainingSampler(straight, 0, epoch)(index, 1, "flow"))
        assert not flip


def test_windows_may_be_resized_before_the_crop(index):
    small = replace(WINDOW, short_side=20, crop=20)
    assert TrainingSampler(small, 0, 0)(index, 0, "rgb").shape == (4, 20, 20, 3)
    assert TrainingSampler(small, 0, 0)(index, 0, "flow").shape == (4, 20, 20, 2)


def test_a_sampler_and_an_index_can_be_sent_to_a_task(index):
    sampler, sent = pickle.loads(pickle.dumps((TrainingSampler(WINDOW, 0, 0), index)))  # noqa: S301
    assert np.array_equal(sampler(sent, 1, "flow"), TrainingSampler(WINDOW, 0, 0)(index, 1, "flow"))


def test_both_streams_look_at_the_same_place(tmp_path):
    """Pictures whose red is the column and whose green is the row tell where an RGB window was cut."""
    row, _, fields = clip_row(0, "train", 0, 9)
    images = np.empty((9, 32, 48, 3), np.uint8)
    images[..., 0], images[..., 1], images[..., 2] = 5 * np.arange(48), 7 * np.arange(32)[:, None], 128
    video = encode_video(images, 25, 5, 6, pixel_format="yuv444p")
    row |= {"video": video, "video_sha256": hashlib.sha256(video).hexdigest(), "video_bytes": len(video)}
    write_table(pa.Table.from_pylist([row], SHARD_SCHEMA), f"{tmp_path}/train-00000.parquet")
    clips = pa.Table.from_pylist([{**row, "shard": "train-00000.parquet", "row_group": 0}], CLIPS_SCHEMA)
    write_manifest(str(tmp_path), clips, summarise(clips, {}))
    index = ClipIndex.load(str(tmp_path), "train")
    for epoch in range(10):
        sampler = TrainingSampler(WINDOW, 0, epoch)
        ((_, top, left, flip),) = places(fields, sampler(index, 0, "flow"))
        rgb = levels(sampler(index, 0, "rgb")).astype(float)
        assert round(rgb[..., 0].mean() / 5 - 7.5) == left  # the middle of 16 columns is 7.5 from the first
        assert round(rgb[..., 1].mean() / 7 - 7.5) == top
        assert (rgb[:, :, 0, 0].mean() > rgb[:, :, -1, 0].mean()) == flip


def test_streams_for_one_network_share_a_window_of_which_rgb_has_the_middle_frames(made, index):
    paired = replace(WINDOW, rgb_every=2)
    for epoch in range(6):
        sampler = TrainingSampler(paired, 0, epoch, paired=True)
        ((start, *_),) = places(made.levels["clip-3"], sampler(index, 1, "flow"))
        assert shown(made, "clip-3", sampler(index, 1, "rgb")) == [start + 2, start + 6]  # of start + 0, 2, 4, 6


def test_a_whole_clip_for_one_network_has_as_many_frames_as_rgb_needs(made, index):
    sampler = CentreSampler(replace(WINDOW, stride=1, rgb_every=4), None, paired=True)
    assert sampler.lengths(index, "rgb").tolist() == [8, 8]  # of 8 and 11 fields of flow
    assert np.array_equal(sampler(index, 1, "flow"), made.levels["clip-3"][1:9, 8:24, 16:32])  # (11 - 8) // 2
    assert shown(made, "clip-3", sampler(index, 1, "rgb")) == [3, 7]


# ---------------------------------------------------------------- evaluation
def test_the_central_window_is_the_middle_in_time_and_space(made, index):
    window = CentreSampler(replace(WINDOW, stride=1), frames=4)(index, 1, "flow")
    assert np.array_equal(window, made.levels["clip-3"][3:7, 8:24, 16:32])  # (11 - 4) // 2, (32 - 16) // 2, ...
    rgb = CentreSampler(replace(WINDOW, stride=1), frames=4)(index, 1, "rgb")
    assert shown(made, "clip-3", rgb) == [4, 5, 6, 7]


def test_the_whole_clip_is_every_frame_at_the_stride(made, index):
    assert np.array_equal(CentreSampler(WINDOW, None)(index, 1, "flow"), made.levels["clip-3"][::2, 8:24, 16:32])
    assert shown(made, "clip-0", CentreSampler(WINDOW, None)(index, 0, "rgb")) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("frames", [None, 4, 20])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_lengths_are_those_of_the_windows_that_come(index, stream, frames, stride):
    sampler = CentreSampler(replace(WINDOW, stride=stride), frames)
    lengths = sampler.lengths(index, stream)
    assert lengths.tolist() == [len(levels(sampler(index, row, stream))) for row in range(len(index))]


def test_evaluation_never_mirrors_and_never_varies(index):
    sampler = CentreSampler(WINDOW, 4)
    assert all(np.array_equal(sampler(index, 0, "flow"), sampler(index, 0, "flow")) for _ in range(4))


def test_bytes_that_do_not_decode_are_an_error_and_no_window(tmp_path):
    row, _, _ = clip_row(0, "train", 0, 9)
    row |= {"video": b"no video", "video_sha256": hashlib.sha256(b"no video").hexdigest()}
    write_table(pa.Table.from_pylist([row], SHARD_SCHEMA), f"{tmp_path}/train-00000.parquet")
    clips = pa.Table.from_pylist([{**row, "shard": "train-00000.parquet", "row_group": 0}], CLIPS_SCHEMA)
    write_manifest(str(tmp_path), clips, summarise(clips, {}))
    with pytest.raises(CodecError, match="does not decode"):
        TrainingSampler(WINDOW, 0, 0)(ClipIndex.load(str(tmp_path), "train"), 0, "rgb")
