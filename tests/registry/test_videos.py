"""Reading videos for a classifier: flow where it is shown, and no more."""

import numpy as np
import pytest

from pipeline.command_line import override
from pipeline.config import Config
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.view_cuts import ViewCuts
from pipeline.flow import quantise, tvl1
from pipeline.registry.videos import Reader, runs
from pipeline.shards import encode_video


def test_flow_is_computed_where_it_is_shown_and_equals_that_of_the_whole_clip():
    fields = {"ingest.short_side": "32", "ingest.flow.nscales": "2", "clips.crop": "32", "evaluation.frames": "4"}
    config = override(Config(), fields)
    noise = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    video, cuts = encode_video(noise, 25, 17, 6), ViewCuts(config.clips, protocol_of(config.evaluation, config.model))
    read = Reader(config.ingest, ("rgb", "flow"), "cpu").read(video, cuts)
    whole = quantise(tvl1(read["rgb"], "cpu", **config.ingest.flow.parameters), config.ingest.flow.bound)
    shown = np.arange(3, 7)  # the central four of eleven
    assert np.array_equal(read["flow"][shown], whole[shown])
    assert not np.delete(read["flow"], shown, axis=0).any()
    assert Reader(config.ingest, ("flow",), "cpu").read(video, cuts).keys() == {"flow"}


@pytest.mark.parametrize(
    ("numbers", "longest", "expected"),
    [
        ([0, 1, 2, 3, 4], 2, [(0, 2), (2, 4), (4, 5)]),
        ([3, 4, 9], 8, [(3, 5), (9, 10)]),
        ([7], 8, [(7, 8)]),
    ],
)
def test_neighbours_are_computed_together(numbers, longest, expected):
    assert [(run.start, run.stop) for run in runs(np.array(numbers), longest)] == expected
