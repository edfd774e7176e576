"""The features of a stream are those of a plain loop over the whole video, for every way to cut windows."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipeline.clips.crops import view_crops
from pipeline.clips.normalise import normalise
from pipeline.features.extraction import Cutting, extract
from pipeline.features.frames import Part, decoded
from pipeline.features.scorer import Local, Networks
from pipeline.features.windows import Windows
from pipeline.flow import quantise, tvl1
from pipeline.ingest.clip_errors import DecodeError, TooShort
from pipeline.ingest.convert import Stopwatch
from pipeline.models import create_model
from tests.ingest.videos import make_video

SIDE = 24
CHEAP = {"nscales": 1, "warps": 1, "outerIterations": 1, "innerIterations": 5}


class Kept:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.times, self.features = [], []

    def begin(self) -> None:
        self.times, self.features = [], []

    def add(self, times, features) -> None:
        self.times += times
        self.features.append(features)

    def column(self, name: str) -> np.ndarray:
        return np.concatenate([each[name] for each in self.features])


@pytest.fixture(scope="module")
def networks() -> Networks:
    torch.manual_seed(0)
    made = {
        stream: create_model("resnet3d18", 5, in_channels=channels).eval()
        for stream, channels in (("rgb", 3), ("flow", 2))
    }
    return Networks(made, {"rgb": ("rgb",), "flow": ("flow",)}, ("avg_pool", "probabilities"), "mean")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    draw = np.random.default_rng(0)
    small = draw.integers(0, 256, (45, 5, 7, 3)).astype(np.uint8)
    return small.repeat(8, 1).repeat(8, 2)


def parts(frames: np.ndarray, size: int, again_at: int | None = None) -> Iterator[Part]:
    """A video in parts with its flow, as `pipeline.features.frames.decoded` gives them."""
    flow = quantise(tvl1(frames, **CHEAP), 20.0)
    for start in range(0, len(frames), size):
        if start == again_at:
            yield from parts(frames, size)
            return
        end = min(start + size, len(frames))
        fields = flow[max(start - 1, 0) : end - 1]
        yield Part(
            start, {"rgb": frames[start:end], "flow": fields}, {"source_codec": "x"} if end == len(frames) else None
        )


def plain(networks: Networks, frames: np.ndarray, cutting: Cutting, stream: str) -> np.ndarray:
    """Every window of the whole video, one after the other, through the network's own method."""
    flow = quantise(tvl1(frames, **CHEAP), 20.0)
    shown, length = {"rgb": frames, "flow": flow}[stream], len(flow)
    crops = view_crops(*frames.shape[1:3], cutting.short_side, cutting.crop, cutting.crops)
    found = []
    for number in range(cutting.windows.count(length)):
        window = shown[cutting.windows.indices(number, length)]
        views = np.stack([crop.apply(window, stream == "flow") for crop in crops])
        with torch.inference_mode():
            found.append(networks.networks[stream].pooled_features(normalise(torch.from_numpy(views))).numpy())
    return np.stack(found)


def cutting(windows: Windows, **changes) -> Cutting:
    given = {"fps": 25, "short_side": None, "crop": SIDE, "crops": 1, "rgb_every": 1, "streams": ("rgb", "flow")}
    return Cutting(windows, **{**given, "batch_size": 4, **changes})


@pytest.mark.parametrize(
    ("windows", "changes"),
    [
        (Windows(16, 1, 16, "drop"), {}),
        (Windows(8, 2, 5, "pad"), {"crops": 5}),
        (Windows(8, 1, 20, "centred"), {"short_side": 36}),
        (Windows(48, 1, 48, "loop"), {"crops": 10}),
    ],
)
def test_a_stream_gives_what_a_plain_loop_gives(networks, frames, windows, changes):
    how, kept = cutting(windows, **changes), Kept()
    columns = extract(parts(frames, 7), how, Local(networks), kept, Stopwatch(), 3.0)
    assert (columns["num_frames"], columns["num_flow"], columns["source_codec"]) == (45, 44, "x")
    assert columns["windows"] == len(kept.times) == windows.count(44)
    assert kept.times == [windows.times(number, 44, 25, 3.0) for number in range(windows.count(44))]
    for stream in ("rgb", "flow"):
        expected = plain(networks, frames, how, stream)
        assert np.abs(kept.column(f"{stream}_avg_pool") - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.allclose(kept.column("rgb_probabilities").sum(-1), 1, atol=1e-5)


def test_neither_parts_nor_batches_nor_a_second_start_change_a_bit(networks, frames):
    how, made = cutting(Windows(8, 1, 3, "pad"), crops=1, streams=("rgb",)), []
    only = Networks({"rgb": networks.networks["rgb"]}, {"rgb": ("rgb",)}, ("avg_pool",), "mean")
    for size, batch, again in ((45, 1, None), (7, 3, None), (9, 8, 18), (64, 100, None)):
        kept = Kept()
        changed = Cutting(**{**how.__dict__, "batch_size": batch})
        extract(parts(frames, size, again), changed, Local(only), kept, Stopwatch())
        made.append(kept.column("rgb_avg_pool"))
    assert all(np.array_equal(made[0], each) for each in made)


def test_windows_of_both_streams_are_those_of_video_features(networks, frames):
    """v-iashin/video_features keeps frames until there is one more than a stack has, and then drops `step` of them."""
    kept, starts = [], []
    for number in range(len(frames)):
        kept.append(number)
        if len(kept) - 1 == 16:
            starts.append(kept[0])
            kept = kept[12:]
    windows = Windows(16, 1, 12)
    assert starts == [windows.first(number) for number in range(windows.count(len(frames) - 1))]


def test_a_video_shorter_than_a_window_says_what_to_do(networks, frames):
    with pytest.raises(TooShort, match=r"45 frames at 25 a second; a window needs 65 frames with .*: --ends pad or"):
        extract(parts(frames, 9), cutting(Windows(64)), Local(networks), Kept(), Stopwatch())


def test_frames_that_no_window_shows_any_more_are_not_kept(networks):
    """The frames of a long video would fill the memory: what is kept is what a window spans, and a part."""
    most = 0

    def long() -> Iterator[Part]:
        nonlocal most
        for start in range(0, 2000, 20):
            most = max(most, sum(len(recent._kept) for recent in state.recent.values()))
            frames = {"rgb": np.full((20, 8, 8, 3), start % 256, np.uint8)}
            yield Part(start, frames, {} if start == 1980 else None)

    from pipeline.features import extraction

    how = cutting(Windows(16, 1, 4), crop=8, streams=("rgb",))

    def score(views):
        return lambda: {"rgb_x": np.stack([view["rgb"].mean(keepdims=True)[0, 0, 0] for view in views])}

    state = extraction._Clip(how, score, Kept(), Stopwatch(), 0.0)
    for part in long():
        state.add(part)
    assert state.end() == 497
    assert most <= 16 + 20


def test_a_video_is_decoded_as_ingest_does_it_and_its_flow_computed_once(tmp_path):
    from pipeline.config import IngestConfig

    video, pairs = make_video(tmp_path / "a.mp4", frames=150), []

    def compute(frames: np.ndarray) -> np.ndarray:
        pairs.append(len(frames) - 1)
        return tvl1(frames, **CHEAP)

    row = {"source": str(video), "start_s": 1.0, "end_s": None}
    config, watch = IngestConfig(short_side=48), Stopwatch()
    found = list(decoded(row, config, ("rgb", "flow"), compute, watch))
    assert sum(pairs) == sum(len(part.frames["flow"]) for part in found) == 124
    assert [part.start for part in found] == [0, 64]
    assert found[-1].facts["source_codec"] == "h264"
    whole = np.concatenate([part.frames["rgb"] for part in found])
    assert np.array_equal(np.concatenate([part.frames["flow"] for part in found]), quantise(tvl1(whole, **CHEAP), 20.0))
    assert watch.seconds.keys() == {"decode", "flow"}


def test_a_video_that_breaks_half_way_is_a_failure(clips_dir):
    from pipeline.config import IngestConfig

    row = {"source": str(clips_dir / "corrupted.mp4"), "start_s": None, "end_s": None}
    with pytest.raises(DecodeError):
        list(decoded(row, IngestConfig(short_side=48), ("rgb",), None, Stopwatch()))
