"""The video classifier: what it says of a video is what the test said of the same clip; a bad one costs no other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.clips.index import ClipIndex
from pipeline.command_line import override
from pipeline.config import Config, ConfigError
from pipeline.evaluation.protocols import protocol_of
from pipeline.evaluation.score_clips import Scorer
from pipeline.evaluation.scores import FUSED, mean_scores
from pipeline.evaluation.views import ViewSampler
from pipeline.models.slices import slices
from pipeline.networks import build_network
from pipeline.registry.video_classifier import Actions, Asked, VideoClassifier
from pipeline.shards import encode_video
from tests.shards.sets import make_set

SMALL = {
    "ingest.short_side": "32", "ingest.flow.nscales": "1", "ingest.flow.warps": "1", "ingest.flow.epsilon": "0.1",
    "clips.crop": "32", "resources.workers": "1", "resources.worker_cpus": "2",
}  # fmt: skip


@pytest.fixture(scope="module")
def video():
    """12 frames of 32 x 48."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    return encode_video(frames, 25, 17, 6)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> ClipIndex:
    """One stored clip of 12 frames of 32 x 48."""
    return ClipIndex.load(make_set(tmp_path_factory.mktemp("set")).path, "val")


def classifier(tmp_path, fields, *networks):
    """A model of untrained networks, whose classifiers are so large that scores differ."""
    config = override(Config(), {**SMALL, **fields})
    weights = {}
    for seed, name in enumerate(networks):
        torch.manual_seed(seed)
        network = build_network(config.model, name, 3)
        with torch.no_grad():
            next(p for n, p in network.named_parameters() if n.endswith(f"{network.head}.weight")).mul_(1e3)
        torch.save(network.state_dict(), tmp_path / f"{name}.pt")
        weights[name] = str(tmp_path / f"{name}.pt")
    return VideoClassifier.from_weights(["a", "b", "c"], config, weights)


def by_the_test(model, tmp_path, index):
    """(classes,) scores of the clip as `evaluate` comes to them, in a Ray task's code without Ray."""
    config = replace(model.config, ingest=replace(model.config.ingest, shards=index.shards))
    weights = {name: str(tmp_path / f"{name}.pt") for name in model.networks}
    scorer, protocol = (
        Scorer(config, weights, {name: index.length(name) for name in ("rgb", "flow")}, False, index.labels),
        protocol_of(config.evaluation, config.model),
    )
    sample = ViewSampler(config.clips, protocol)
    streams = {stream for name in weights for stream in model.inputs[name]}
    batch = {stream: sample(index, 0, stream)[None] for stream in streams}
    scored = scorer({"rows": np.array([0]), **batch})
    return mean_scores(np.stack([scored[name][0] for name in weights]), sample.protocol.average)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model.name": "resnet3d18", "model.levels": "activitynet", "clips.frames": "5", "clips.crop": "16"},
        {"clips.frames": "4", "clips.crop": "24", "evaluation.protocol": "views", "evaluation.views": "3"},
        {"evaluation.frames": "6"},
    ],
    ids=["whole clip", "windows end to end, softmax", "views x crops", "the middle"],
)
def test_of_a_stored_clip_it_says_what_the_test_said(tmp_path, index, fields):
    model = classifier(tmp_path, {"model.streams": "rgb", **fields}, "rgb")
    blob = index.blob(0, "rgb")
    expected = by_the_test(model, tmp_path, index)
    assert np.ptp(expected) > 0.02
    assert model.scores(model.arrays(blob)) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    (actions,) = model.classify([blob])
    shares = np.exp(expected) / np.exp(expected).sum()
    assert actions.labels == [model.labels[i] for i in np.argsort(-shares)]
    assert actions.probabilities == pytest.approx(np.sort(shares)[::-1].tolist(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("fields", "networks"),
    [({}, ("rgb", "flow")), ({"model.name": "two_stream", "clips.rgb_every": "4"}, (FUSED,))],
    ids=["a network a stream", "one network of both"],
)
def test_of_the_same_frames_and_flow_it_says_what_the_test_said(tmp_path, index, fields, networks):
    model = classifier(tmp_path, fields, *networks)
    protocol = replace(protocol_of(Config().evaluation, Config().model), windows=every_frame)
    sample = ViewSampler(replace(model.config.clips, crop=32), protocol)
    stored = {stream: sample(index, 0, stream)[0] for stream in ("rgb", "flow")}
    assert {stream: each.shape for stream, each in stored.items()} == {"rgb": (12, 32, 32, 3), "flow": (11, 32, 32, 2)}
    assert model.scores(stored) == pytest.approx(by_the_test(model, tmp_path, index), rel=1e-3, abs=1e-3)


def every_frame(length, clips, stream):
    return np.arange(length)[None]


def test_flow_is_computed_for_networks_that_take_it_and_for_no_others(tmp_path, video):
    both = classifier(tmp_path, {"model.name": "two_stream", "clips.rgb_every": "4"}, FUSED)
    arrays = both.arrays(video)
    assert {stream: each.shape for stream, each in arrays.items()} == {"rgb": (12, 32, 48, 3), "flow": (11, 32, 48, 2)}
    assert classifier(tmp_path, {"model.streams": "rgb"}, "rgb").arrays(video).keys() == {"rgb"}
    (actions,) = both.classify([video])
    assert sum(actions.probabilities) == pytest.approx(1, abs=1e-5)
    assert actions.error is None


@pytest.fixture(scope="module")
def rgb(tmp_path_factory):
    """Of videos of up to two seconds, four frames at a time."""
    fields = {"model.streams": "rgb", "ingest.max_seconds": "2", "clips.frames": "4", "clips.crop": "16"}
    return classifier(tmp_path_factory.mktemp("rgb"), fields, "rgb")


def test_each_video_has_its_answer_or_its_error_in_the_order_they_came(rgb, tmp_path, video, clips_dir):
    (tmp_path / "good.mp4").write_bytes(video)
    videos = [b"", tmp_path / "good.mp4", b"not a video", video, clips_dir / "street_10s.mp4", Path("/nowhere.mp4")]
    answers = list(rgb.classify(videos * 3))  # more than are read ahead
    assert answers[:6] == answers[6:12] == answers[12:]
    errors = [actions.error for actions in answers[:6]]
    assert errors == [
        "ZeroByte: what was fetched is empty", None, errors[2], None,
        "TooLong: longer than 2 s, the most that this model takes; cut it", "FileNotFound: no file nowhere.mp4 in /",
    ]  # fmt: skip
    assert errors[2].startswith("NotAVideo: ")
    assert answers[1] == answers[3]
    assert [len(actions.labels) for actions in answers[:4]] == [0, 3, 0, 3]


def test_videos_are_taken_as_there_is_room_for_them(rgb, video):
    taken = []

    def coming():
        for number in range(100):
            taken.append(number)
            yield video

    answers = rgb.classify(coming())
    assert isinstance(next(answers), Actions)
    assert len(taken) < 20


def test_what_is_asked_for_is_answered(rgb, video):
    by_config = {"evaluation.protocol": "views", "evaluation.views": "2", "evaluation.crops": "5"}
    spread = VideoClassifier(rgb.labels, override(rgb.config, by_config), rgb.networks)
    (whole,), (best,) = rgb.classify([video]), rgb.classify([video], Asked(top_k=1))
    assert (best.labels, best.probabilities) == (whole.labels[:1], whole.probabilities[:1])
    (views,), (expected,) = rgb.classify([video], Asked(views=2, crops=5)), spread.classify([video])
    assert views == expected != whole


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"top_k": 0}, "top_k: 0; give 1 or more"),
        ({"views": -1}, "views: -1; give 0 or more"),
        ({"crops": 3}, "crops: 3; give views too"),
        ({"views": 2, "crops": 4}, "crops: 4; give one of 1, 3, 5, 10"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(asked, line):
    with pytest.raises(ConfigError, match=line):
        Asked(**asked)


def test_a_long_video_is_scored_in_slices_as_it_is_at_once(rgb, monkeypatch):
    frames = {"rgb": np.random.default_rng(0).integers(0, 256, (203, 16, 24, 3), dtype=np.uint8)}
    whole = rgb.scores(frames)
    monkeypatch.setattr("pipeline.evaluation.scoring.LONGEST", 200)
    monkeypatch.setattr("pipeline.evaluation.scoring.slices", lambda length: slices(length, 144))
    assert rgb.scores(frames) == pytest.approx(whole, rel=1e-4, abs=1e-4)
    assert np.ptp(whole) > 0.02
