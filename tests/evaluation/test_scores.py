"""Numbers from stored scores, worked out by hand; fusion clip by clip."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.analysis import Pair, analyse, calibration, probabilities
from pipeline.evaluation.fusion import fuse
from pipeline.evaluation.scores import FUSED, Scores, ScoresError, mean_scores, read_scores, write_scores
from pipeline.figures import charts as figures
from pipeline.shards.tables import write_table

LABELS = ("a", "b", "c", "d", "e", "f", "g")


def ranked(*order: int) -> list[float]:
    """Logits whose classes rank in the given order, the others behind them."""
    return [float(10 - order.index(i)) if i in order else 0.0 for i in range(len(LABELS))]


def scores(**changes) -> Scores:
    """Five clips: three right, one among the first five, one not."""
    logits = np.array([ranked(0), ranked(1, 0), ranked(0, 1, 2, 3, 4), ranked(1, 2, 3, 4, 5), ranked(0)], np.float32)
    whole = Scores(
        split="val", digest="0123", missing=2, labels=LABELS, clip_ids=np.array(["p", "q", "r", "s", "t"]),
        targets=np.array([0, 1, 4, 0, 0]), logits={"rgb": logits}, protocol="i3d",
    )  # fmt: skip
    return replace(whole, **changes)


def two_streams(average="logits") -> Scores:
    rng = np.random.default_rng(0)
    streams = {name: rng.normal(size=(5, len(LABELS))).astype(np.float32) for name in ("rgb", "flow")}
    return scores(logits=streams, average=average)


def test_every_number_comes_with_the_clips_the_missing_and_the_digest():
    found = analyse(scores(), "rgb")
    worth = found.accuracy
    assert (worth.top1, worth.top5, worth.mean) == pytest.approx((0.6, 0.8, 0.7))
    assert (worth.clips, worth.missing, worth.digest) == (5, 2, "0123")
    assert str(worth) == "top-1 60.0 %, top-5 80.0 % (5 clips, 2 missing)"
    assert found.to_dict()["accuracy"] == {"top1": 0.6, "top5": 0.8, "clips": 5, "missing": 2, "digest": "0123"}


def test_accuracy_of_each_class_and_their_mean_leaves_out_classes_without_clips():
    found = analyse(scores(), "rgb")
    by_label = {one.label: (one.clips, one.top1, one.top5) for one in found.classes if one.clips}
    assert by_label == {"a": (3, pytest.approx(2 / 3), pytest.approx(2 / 3)), "b": (1, 1, 1), "e": (1, 0, 1)}
    assert found.class_mean == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.to_dict()["classes"][2] == {"label": "c", "clips": 0, "top1": None, "top5": None}


def test_confusion_and_the_hardest_pairs():
    found = analyse(scores(), "rgb")
    assert found.confusion.sum() == 5
    assert found.confusion[0].tolist() == [2, 1, 0, 0, 0, 0, 0]
    assert found.pairs == (Pair("e", "a", 1, 1), Pair("a", "b", 1, 3))


def test_calibration_is_the_gap_of_each_bin_weighted_by_its_clips():
    probability = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6], [0.4, 0.6]])
    found = calibration(probability, np.array([0, 1, 1, 1]), bins=10)
    assert found.clips == (0, 0, 0, 0, 0, 2, 0, 0, 1, 1)  # 0.9 closes its bin
    assert found.confidence[5] == pytest.approx(0.6)
    assert found.accuracy[5] == 1
    assert found.error == pytest.approx((2 * 0.4 + 0.1 + 0.95) / 4)
    sure = calibration(np.array([[1.0, 0.0]]), np.array([0]))
    assert (sure.error, len(sure.clips), sure.clips[-1]) == (0, 15, 1)


def test_a_mean_of_probabilities_is_kept_as_logits_of_itself():
    views = np.random.default_rng(1).normal(0, 30, (4, 3, 7)).astype(np.float32)
    exact = probabilities(views).mean(axis=0)
    assert probabilities(mean_scores(views, "softmax")) == pytest.approx(exact, rel=1e-5, abs=1e-12)
    assert mean_scores(views, "logits") == pytest.approx(views.mean(axis=0), rel=1e-5)
    assert mean_scores(views, "softmax", [0, 0, 3, 0]) == pytest.approx(
        np.log(probabilities(views[2])), rel=1e-5, abs=1e-5
    )


def test_scores_come_back_from_their_file(tmp_path):
    whole = two_streams("softmax")
    write_scores(whole, str(tmp_path / "scores.parquet"))
    for place in (tmp_path, tmp_path / "scores.parquet"):
        back = read_scores(str(place))
        assert replace(back, logits={}, clip_ids=None, targets=None) == replace(
            whole, logits={}, clip_ids=None, targets=None
        )
        assert back.clip_ids.tolist() == whole.clip_ids.tolist()
        assert np.array_equal(back.targets, whole.targets)
        assert all(np.array_equal(back.logits[name], whole.logits[name]) for name in ("rgb", "flow"))


@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_fusion_of_stored_streams_is_that_of_one_run(tmp_path, average):
    whole = two_streams(average)
    for number, name in enumerate(whole.logits):
        order = np.roll(np.arange(5), number)  # files need not have one order
        one = replace(
            whole, logits={name: whole.logits[name][order]}, clip_ids=whole.clip_ids[order],
            targets=whole.targets[order],
        )  # fmt: skip
        write_scores(one, str(tmp_path / f"{name}.parquet"))
    fused = fuse([read_scores(str(tmp_path / f"{name}.parquet")) for name in ("flow", "rgb")], average)
    assert fused.clip_ids.tolist() == whole.clip_ids.tolist()
    assert fused.all_logits[FUSED] == pytest.approx(whole.all_logits[FUSED], abs=1e-6)
    assert analyse(fused, FUSED).accuracy == analyse(whole, FUSED).accuracy


def test_fusion_may_be_weighted_and_numbers_a_stream_that_comes_twice():
    one = two_streams()
    fused = fuse([one, one], weights=[1, 0, 0, 3])
    assert list(fused.all_logits) == ["rgb", "flow", "rgb_2", "flow_2", FUSED]
    assert fused.all_logits[FUSED] == pytest.approx(0.25 * one.logits["rgb"] + 0.75 * one.logits["flow"], abs=1e-6)
    both = scores(logits={FUSED: one.logits["rgb"]})  # a network that takes both streams
    assert list(both.all_logits) == [FUSED]
    assert list(fuse([both, scores()]).all_logits) == ["two_stream_2", "rgb", FUSED]


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (scores(digest="4567"), "fusion of scores 1 and 2: different digest: 0123 and 4567"),
        (scores(split="test"), "fusion of scores 1 and 2: different split: val and test"),
        (scores(labels=LABELS[::-1]), "fusion of scores 1 and 2: different labels: 7 and 7, or other ones"),
        (scores(clip_ids=np.array(["p", "q", "r", "s", "u"])), "2 clips are in one of them only"),
        (scores(targets=np.array([0, 1, 4, 0, 1])), "the same clips have different labels"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused_in_one_line(other, line):
    with pytest.raises(ScoresError, match=line) as raised:
        fuse([scores(), other])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ScoresError, match=r"weights: .* for rgb, rgb_2; give one for each, not all 0"):
        fuse([scores(), scores()], weights=weights)


def test_files_that_hold_no_scores_are_refused_in_one_line(tmp_path):
    with pytest.raises(ScoresError, match=r"none/scores\.parquet: no such file"):
        read_scores(str(tmp_path / "none"))
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(ScoresError, match=r"does not read .*it does not end as Parquet does"):
        read_scores(str(tmp_path / "text.parquet"))
    write_table(scores().table().replace_schema_metadata(None), str(tmp_path / "bare.parquet"))
    with pytest.raises(ScoresError, match="does not say which data"):
        read_scores(str(tmp_path / "bare.parquet"))


def test_classes_are_drawn_worst_first_and_many_are_cut():
    few = figures.class_accuracy(("a", "b", "c"), (0.5, 0.25, float("nan")), (2, 4, 0), "rgb")
    assert [label.get_text() for label in few.axes[0].get_yticklabels()] == ["b", "a"]
    assert [text.get_text() for text in few.axes[0].texts] == ["1 of 4", "1 of 2"]
    many = figures.class_accuracy([str(i) for i in range(400)], np.linspace(0, 1, 400), [1] * 400, "rgb")
    assert len(many.axes[0].patches) == 40
    assert many.axes[0].texts[-1].get_text() == "360 classes between"


def test_the_reliability_curve_shows_the_bins_that_have_clips():
    found = analyse(scores(), "rgb").calibration
    figure = figures.reliability(found.confidence, found.accuracy, found.clips, found.error, "rgb")
    curve, counts = figure.axes
    assert [bar.get_height() for bar in counts.patches] == list(found.clips)
    assert np.nansum(~np.isnan(curve.lines[1].get_ydata())) == sum(clips > 0 for clips in found.clips)
