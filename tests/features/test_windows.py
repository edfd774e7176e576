"""Where windows begin and end, counted by hand; and that a stream cuts the same windows as the whole clip."""

import numpy as np
import pytest

from pipeline.config import ConfigError
from pipeline.features.windows import ENDS, Windows


@pytest.mark.parametrize(
    ("ends", "length", "starts"),
    [
        ("drop", 10, [0, 3, 6]),
        ("drop", 9, [0, 3]),
        ("drop", 3, []),
        ("pad", 10, [0, 3, 6]),
        ("pad", 11, [0, 3, 6, 9]),
        ("pad", 2, [0]),
        ("loop", 11, [0, 3, 6, 9]),
        ("centred", 7, [-2, 1, 4]),
        ("centred", 1, [-2]),
        ("pad", 0, []),
    ],
)
def test_windows_of_four_frames_every_third(ends, length, starts):
    cut = Windows(4, 1, 3, ends)
    assert [cut.first(number) for number in range(cut.count(length))] == starts


def test_what_the_ends_show():
    assert Windows(4, 1, 3, "pad").indices(3, 11).tolist() == [9, 10, 10, 10]
    assert Windows(4, 1, 3, "loop").indices(3, 11).tolist() == [9, 10, 9, 10]
    assert Windows(4, 1, 3, "centred").indices(0, 7).tolist() == [0, 0, 0, 1]
    assert Windows(4, 1, 3, "centred").indices(2, 7).tolist() == [4, 5, 6, 6]
    assert Windows(4, 2, 3, "loop").indices(0, 5).tolist() == [0, 2, 4, 0]
    assert Windows(4, 2, 3, "pad").indices(0, 5).tolist() == [0, 2, 4, 4]


def test_times_are_those_of_the_source():
    assert Windows(4, 1, 3, "pad").times(3, 11, 25, 10.0) == (10 + 9 / 25, 10 + 11 / 25, 10 + 10 / 25)
    assert Windows(4, 1, 3, "centred").times(0, 7, 25) == (0.0, 2 / 25, 0.0)
    assert Windows(64, 1, 64, "drop").times(2, 300, 25) == (128 / 25, 192 / 25, 160 / 25)


def test_windows_beyond_their_span_skip_frames():
    cut = Windows(2, 1, 10, "pad")
    assert [cut.indices(number, 23).tolist() for number in range(cut.count(23))] == [[0, 1], [10, 11], [20, 21]]
    assert cut.count(21) == 3
    assert cut.count(20) == 2


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize(("frames", "stride", "step"), [(4, 1, 4), (4, 2, 3), (5, 3, 1), (2, 1, 7), (1, 1, 1)])
def test_a_stream_cuts_what_the_whole_clip_has(ends, frames, stride, step):
    cut = Windows(frames, stride, step, ends)
    for length in range(1, 40):
        whole = [cut.indices(number, length) for number in range(cut.count(length))]
        done, streamed = 0, []
        for so_far in (*range(0, length, 3), length):
            while done < cut.ready(so_far):
                streamed.append(cut.indices(done, so_far))
                assert cut.times(done, so_far, 25) == cut.times(done, length, 25)
                done += 1
        streamed += [cut.indices(number, length) for number in range(done, cut.count(length))]
        assert np.array_equal(streamed, whole) if whole else not streamed
        if ends in ("pad", "loop") and step <= stride * frames:
            assert whole[-1].max() > length - 1 - stride


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"stride": 0}, {"step": -1}, {"ends": "cut"}])
def test_what_has_no_meaning_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"--{next(iter(wrong))} "):
        Windows(**{"frames": 4, **wrong})
