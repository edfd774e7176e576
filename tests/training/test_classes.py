"""Networks are compared with data by the names of classes, whatever their numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.clips.index import ClipIndex
from pipeline.command_line import override
from pipeline.config import Config
from pipeline.evaluation.example_clips import attention_pictures
from pipeline.evaluation.score_clips import EvaluationError, evaluate
from pipeline.models.weights import Provenance, read_weights, save_weights
from pipeline.networks import build_network
from pipeline.runs.evaluate import named_copy
from pipeline.shards import read_manifest
from pipeline.training.classes import other_classes, some
from pipeline.training.provenance import other_input, provenance_of
from tests.shards.relabelled import relabelled


def test_classes_that_differ_are_named_the_first_few_of_them():
    assert some(["a"]) == "'a'"
    assert some([*"abcde"]) == "'a', 'b', 'c' and 2 more"
    known = ["pull_ups", "Caf\u00e9", "run"]
    beside = "'Pull ups' (near 'pull_ups'), 'Cafe\u0301' (near 'Caf\u00e9') and 'swim'"
    said = other_classes(known, ["Pull ups", "Cafe\u0301", "run", "swim"])
    assert said == f"it does not know {beside} of the 4 classes of the data"
    assert other_classes(known, ["run"]) == "'pull_ups' and 'Caf\u00e9' of its 3 classes are not in the data"


@pytest.fixture(scope="module")
def trained(shards: Config, tmp_path_factory) -> str:
    """A flow network of the tiny set, whose classifier is so large that its clips differ; the file of its weights."""
    torch.manual_seed(0)
    network = build_network(shards.model, "flow", 8)
    with torch.no_grad():
        network.logits.conv3d.weight.mul_(1e4)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_weights(network.state_dict(), provenance_of(shards, "flow", read_manifest(shards.ingest.shards)), path)
    return str(path)


@pytest.fixture(scope="module")
def before(shards, trained):
    """Its scores of the set that it is of."""
    return evaluate(shards, {"flow": trained}, "test")


def on(shards: Config, path: str) -> Config:
    return override(shards, {"ingest.shards": path})


def of_clips(scores):
    return {clip: scores.logits["flow"][row] for row, clip in enumerate(scores.clip_ids.tolist())}


@pytest.mark.ray
def test_what_is_known_of_weights_is_the_set_and_the_input(shards, trained):
    known = read_weights(trained).provenance
    manifest = read_manifest(shards.ingest.shards)
    assert (known.labels, known.digest) == (tuple(manifest["labels"]), manifest["digest"])
    assert known.input == {
        "frames": 4, "stride": 1, "fps": 25, "stored_side": 32, "short_side": 32, "crop": 32,
        "flow_bound": 5.0, "flow_backend": "cpu",
    }  # fmt: skip


@pytest.mark.ray
def test_of_the_same_classes_in_another_order_scores_are_the_same_by_name(shards, trained, before, tmp_path, capsys):
    order = before.labels[::-1]
    config = on(shards, relabelled(shards.ingest.shards, tmp_path / "set", order))
    scores = evaluate(config, {"flow": trained}, "test")
    assert scores.labels == order
    assert scores.accuracy("flow").top1 == before.accuracy("flow").top1
    one, other = of_clips(before), of_clips(scores)
    assert all(np.allclose(other[clip], one[clip][::-1], atol=1e-4) for clip in one)
    assert "flow: has its classes in another order; scores are put in that of the data\n" in capsys.readouterr().out
    index = ClipIndex.load(config.ingest.shards, "test")
    pictures = [attention_pictures(config, {"flow": trained}, each, "flow", at, [0]) for each, at in (
        (scores, index), (before, ClipIndex.load(shards.ingest.shards, "test")),
    )]  # fmt: skip
    assert pictures[0] == pictures[1]


@pytest.mark.ray
def test_data_of_some_classes_is_tested_against_all_that_the_network_knows(shards, trained, before, tmp_path, capsys):
    few = before.labels[5:2:-1]
    config = on(shards, relabelled(shards.ingest.shards, tmp_path / "set", few))
    scores = evaluate(config, {"flow": trained}, "test")
    assert scores.labels == (*few, *sorted(set(before.labels) - set(few)))
    one, other = of_clips(before), of_clips(scores)
    assert len(other) == 3
    order = [before.labels.index(label) for label in scores.labels]
    assert all(np.allclose(other[clip], one[clip][order], atol=1e-4) for clip in other)
    assert "flow: knows 8 classes, of which " in capsys.readouterr().out


@pytest.mark.ray
def test_data_of_classes_that_a_network_does_not_know_is_refused_in_a_line(shards, trained, before, tmp_path):
    names = {before.labels[1]: "Something else"}
    labels = [names.get(label, label) for label in before.labels]
    config = on(shards, relabelled(shards.ingest.shards, tmp_path / "set", labels, names))
    line = r"model\.pt: it does not know 'Something else' of the 8 classes of the data, .*set$"
    with pytest.raises(EvaluationError, match=line):
        evaluate(config, {"flow": trained}, "test")


@pytest.mark.ray
def test_weights_that_do_not_name_their_classes_are_compared_by_number_and_this_is_said(
    shards, trained, before, tmp_path, capsys
):
    torch.save(dict(read_weights(trained).state), tmp_path / "plain.pt")
    scores = evaluate(shards, {"flow": str(tmp_path / "plain.pt")}, "test")
    assert np.allclose(scores.logits["flow"], before.logits["flow"], atol=1e-4)
    assert "flow: does not name its classes; its 8 are compared by number with those of" in capsys.readouterr().out


def test_weights_of_the_registry_that_do_not_name_their_classes_get_the_names_of_their_model(tmp_path):
    save_weights({"w": torch.ones(1)}, Provenance(), tmp_path / "plain.pt")
    copy = named_copy(str(tmp_path / "plain.pt"), str(tmp_path / "copy.pt"), ("b", "a"))
    assert read_weights(copy).provenance.labels == ("b", "a")
    again = named_copy(copy, str(tmp_path / "again.pt"), ("a", "b"))
    assert read_weights(again).provenance.labels == ("b", "a")


@pytest.mark.ray
def test_other_input_is_said_and_other_levels_are_refused(shards, trained, tmp_path, capsys):
    stored = read_weights(trained)
    other = {**stored.provenance.input, "fps": 12, "flow_bound": 20.0, "stored_side": 256, "flow_backend": "opencv"}
    path = str(tmp_path / "model.pt")
    save_weights(stored.state, replace(stored.provenance, input=other), path)
    evaluate(shards, {"flow": path}, "test")
    says = "flow: expects other input: fps 12, here 25; flow_bound 20 of 256 pixels, here 5 of 32 pixels"
    assert says in capsys.readouterr().out
    assert other_input({"flow_bound": 20, "stored_side": 256}, {"flow_bound": 5, "stored_side": 64}) == ""
    rgb = build_network(shards.model, "rgb", 8)
    known = provenance_of(shards, "rgb", read_manifest(shards.ingest.shards))
    save_weights(rgb.state_dict(), replace(known, input={**known.input, "levels": "imagenet"}), path)
    with pytest.raises(EvaluationError, match=r"expects model\.levels imagenet, not signed; give --model\.levels imag"):
        evaluate(shards, {"rgb": path}, "test")
