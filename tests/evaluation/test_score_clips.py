"""Every view of every clip is scored once, and alike however the work is cut."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.clips.index import ClipIndex
from pipeline.clips.normalise import normalise
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.evaluation.protocols import PROTOCOLS, views
from pipeline.evaluation.score_clips import EvaluationError, Scorer, evaluate
from pipeline.evaluation.views import ViewSampler
from pipeline.networks import build_network, load_network
from pipeline.shards import decode_flow

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def weights(shards: Config, tmp_path_factory) -> dict[str, str]:
    """A flow network that was not trained, with a classifier so large that its clips differ."""
    torch.manual_seed(0)
    network = build_network(shards.model, "flow", 8)
    with torch.no_grad():
        network.logits.conv3d.weight.mul_(1e4)
    path = tmp_path_factory.mktemp("weights") / "flow.pt"
    torch.save(network.state_dict(), path)
    return {"flow": str(path)}


def asking(config: Config, batch_size: int, workers: int = 1) -> Config:
    """Two windows of four of a clip's eleven flow fields, softmax averaged."""
    asked = {"protocol": "views", "views": 2, "crops": 1, "batch_size": batch_size}
    changes = {**{f"evaluation.{name}": value for name, value in asked.items()}, "resources.workers": workers}
    return override(config, {name: str(value) for name, value in changes.items()})


def one_by_one(config: Config, weights: dict[str, str], index: ClipIndex, row: int) -> np.ndarray:
    """Mean probabilities of a clip, each window decoded and scored by itself."""
    network = load_network(config.model, "flow", 8, weights["flow"])
    probabilities = []
    for window in ([0, 1, 2, 3], [7, 8, 9, 10]):
        frames = decode_flow(index.blob(row, "flow"), np.array(window))  # 32 x 32, as large as the crop
        with torch.inference_mode():
            probabilities.append(network(normalise(torch.from_numpy(frames)[None]))[0].softmax(dim=0))
    return torch.stack(probabilities).mean(dim=0).numpy()


def lengths(index: ClipIndex) -> dict[str, np.ndarray]:
    return {stream: index.length(stream) for stream in ("rgb", "flow")}


def test_101_clips_of_two_views_score_alike_on_one_or_two_workers_in_batches_of_3_or_16(shards, weights):
    two = evaluate(asking(shards, batch_size=16, workers=2), weights, "val")
    one = evaluate(asking(shards, batch_size=3, workers=1), weights, "val")
    assert len(set(two.clip_ids)) == len(two.clip_ids) == 101
    assert one.clip_ids.tolist() == two.clip_ids.tolist()
    assert np.abs(one.logits["flow"] - two.logits["flow"]).max() < 1e-5
    assert two.accuracy("flow") == one.accuracy("flow")
    assert np.ptp(two.logits["flow"], axis=0).max() > 0.1  # clips do differ
    index = ClipIndex.load(shards.ingest.shards, "val")
    for row in range(0, 101, 20):
        alone = one_by_one(shards, weights, index, row)
        assert np.exp(two.logits["flow"][row]) == pytest.approx(alone, abs=1e-5)


def test_a_batch_of_clips_scores_alike_however_many_views_are_scored_at_a_time(shards, weights):
    index = ClipIndex.load(shards.ingest.shards, "val")
    rows = np.arange(2)
    config = override(shards, {"clips.crop": "24"})
    sample = ViewSampler(config.clips, views(2, 3))
    batch = {"rows": rows, "flow": np.stack([sample(index, int(row), "flow") for row in rows])}
    found = []
    for size in (1, 3, 16):
        scorer = Scorer(asking(config, size), weights, lengths(index), gpu=False, labels=index.labels)
        scorer.sample = sample
        found.append(scorer(batch)["flow"])
    assert found[0].shape == (2, 8)
    assert max(np.abs(found[0] - other).max() for other in found[1:]) < 1e-5


def test_a_network_of_both_streams_is_given_both(shards):
    """25 RGB frames and 250 flow fields at once, as Two-Stream networks are tested."""
    index = ClipIndex.load(shards.ingest.shards, "val")
    sample = ViewSampler(shards.clips, PROTOCOLS["two_stream"])

    class Means(torch.nn.Module):
        def forward(self, rgb, flow):
            assert (rgb.shape[1:], flow.shape[1:]) == ((3, 25, 32, 32), (2, 250, 32, 32))
            return torch.stack([rgb.mean(dim=(1, 2, 3, 4)), flow.mean(dim=(1, 2, 3, 4))], dim=1)

    scorer = Scorer(shards, {}, lengths(index), gpu=False, labels=index.labels)
    scorer.sample, scorer.networks = sample, {"two_stream": Means()}
    streams = ("rgb", "flow")
    batch = {stream: np.stack([sample(index, row, stream) for row in (3, 4)]) for stream in streams}
    scored = scorer({"rows": np.array([3, 4]), **batch})["two_stream"]
    for number in (0, 1):
        for place, stream in enumerate(streams):
            shown = batch[stream][number, 0][sample.views(int(index.length(stream)[3]), stream)[1][0]]
            assert scored[number, place] == pytest.approx(shown.mean() * 2 / 255 - 1, abs=1e-5)


def test_weights_of_another_network_are_refused_before_workers_start(shards, weights):
    with pytest.raises(
        EvaluationError, match=r"not the weights of i3d on rgb with 8 classes: .*size mismatch"
    ) as raised:
        evaluate(shards, {"rgb": weights["flow"]}, "val")
    assert "\n" not in str(raised.value)


def test_scores_that_are_not_finite_are_no_result(shards, weights, tmp_path):
    state = torch.load(weights["flow"], weights_only=True)
    state["logits.conv3d.bias"][3] = torch.nan
    torch.save(state, tmp_path / "flow.pt")
    with pytest.raises(EvaluationError, match="test: flow scores of 8 clips are not finite; its weights have diverged"):
        evaluate(shards, {"flow": str(tmp_path / "flow.pt")}, "test")


def test_a_clip_without_flow_is_said_before_anything_runs(shards, weights, monkeypatch):
    index = ClipIndex.load(shards.ingest.shards, "test")
    none = replace(index, num_flow=np.zeros_like(index.num_flow))
    monkeypatch.setattr(ClipIndex, "load", lambda *_: none)
    with pytest.raises(EvaluationError, match="8 clips of 'test' have no flow"):
        evaluate(shards, weights, "test")
