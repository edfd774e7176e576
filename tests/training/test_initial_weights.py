"""Where a training starts: which classifier it has, what it says of it, and which weights it refuses."""

import json
from dataclasses import replace

import pytest
import torch
from torchvision.models import googlenet

from pipeline.command_line import override
from pipeline.config import Config, ConfigError, ModelConfig, save
from pipeline.models.weights import Provenance, save_weights
from pipeline.networks import build_network
from pipeline.runs.trained_networks import checkpointed
from pipeline.training.initial_weights import chosen_start, load_start, weights_in

HEAD = ("logits.conv3d.weight", "logits.conv3d.bias")
LABELS = ("fall", "rise", "turn")
INPUT = {"frames": 8, "stride": 1, "fps": 25, "stored_side": 64, "short_side": 32, "crop": 28, "levels": "signed"}
OF = Provenance(LABELS, "mine", "0123", "i3d", "rgb", INPUT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of an I3D of three classes; its state dict."""
    torch.manual_seed(1)
    state = build_network(ModelConfig(name="i3d"), "rgb", 3).state_dict()
    folder = tmp_path_factory.mktemp("checkpoint")
    save_weights(state, OF, folder / "model.pt")
    return str(folder), state


def begun(path, mode="none", labels=LABELS, **values):
    """A network of other random weights as it starts; its state dict before; the report."""
    config = ModelConfig(name="i3d", weights={"rgb": path}, fine_tune=mode, **values)
    torch.manual_seed(2)
    network = build_network(config, "rgb", len(labels))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = load_start(config, "rgb", network, replace(OF, labels=labels, digest="4567"))
    return network.state_dict(), before, report


@pytest.mark.parametrize("mode", ["fixed", "full"])
@pytest.mark.parametrize("labels", [LABELS, ("a", "b", "c"), LABELS[::-1]], ids=["same", "others", "another order"])
def test_fine_tuning_has_a_new_classifier_also_where_there_are_as_many_classes(trained, mode, labels):
    path, state = trained
    after, before, report = begun(path, mode, labels)
    assert all(torch.equal(after[name], before[name]) for name in HEAD)
    assert all(torch.equal(after[name], value) for name, value in state.items() if name not in HEAD)
    assert set(report.kept) == set(HEAD)
    count = len(state) - 2
    assert f"{count} of {count + 2} entries loaded; a new classifier, as model.fine_tune {mode} has it" in str(report)


def test_the_last_block_is_trained_with_a_new_classifier(tmp_path):
    config = ModelConfig(name="resnet3d18", fine_tune="last_block", weights={"rgb": str(tmp_path / "model.pt")})
    of = replace(OF, model="resnet3d18")
    save_weights(build_network(config, "rgb", 3).state_dict(), of, tmp_path / "model.pt")
    report = load_start(config, "rgb", build_network(config, "rgb", 3), OF)
    assert set(report.kept) == {"fc.weight", "fc.bias"}


def test_a_training_goes_on_with_the_classifier_of_the_same_classes(trained):
    path, state = trained
    after, _, report = begun(path)
    assert all(torch.equal(after[name], value) for name, value in state.items())
    assert report.notes == ["its classifier, which is of the same classes"]


def test_of_the_same_classes_in_another_order_the_rows_of_the_classifier_are_moved(trained):
    path, state = trained
    after, _, report = begun(path, labels=("turn", "fall", "rise"))
    for name in HEAD:
        assert torch.equal(after[name], state[name][[2, 0, 1]])
    assert report.notes == ["its classifier, with the classes put in the order of the data"]
    assert "2, classes in the network's order" in str(report)


def test_of_other_classes_the_classifier_is_new_and_some_are_named(trained):
    path, _ = trained
    after, before, report = begun(path, labels=("fall", "Rise", "walk"))
    assert all(torch.equal(after[name], before[name]) for name in HEAD)
    (note,) = report.notes
    expected = "a new classifier, since it does not know 'Rise' (near 'rise') and 'walk' of the 3 classes of the data"
    assert note == expected


def test_a_file_that_does_not_name_its_classes_is_compared_by_number_and_this_is_said(trained, tmp_path):
    _, state = trained
    torch.save(state, tmp_path / "plain.pt")
    after, _, report = begun(str(tmp_path / "plain.pt"))
    assert torch.equal(after[HEAD[0]], state[HEAD[0]])
    assert report.notes == ["its classifier by the number of classes, since the file does not name them"]
    _, _, report = begun(str(tmp_path / "plain.pt"), labels=("a", "b"))
    assert report.notes == ["a new classifier, since the weights are of other classes or of none"]


def test_weights_that_learned_no_classes_are_begun_with_a_new_classifier(trained, tmp_path):
    _, state = trained
    save_weights(state, replace(OF, labels=()), tmp_path / "student.pt")
    _, _, report = begun(str(tmp_path / "student.pt"))
    assert set(report.kept) == set(HEAD)


def test_an_inflated_network_has_a_new_classifier_also_where_there_are_as_many_classes(tmp_path):
    flat = googlenet(weights=None, aux_logits=False, init_weights=False, num_classes=3)
    torch.save(flat.state_dict(), tmp_path / "googlenet.pth")
    config = ModelConfig(name="i3d", inflate=str(tmp_path / "googlenet.pth"))
    report = load_start(config, "rgb", build_network(config, "rgb", 3), OF)
    assert set(report.kept) >= set(HEAD)


def test_a_network_without_a_classifier_is_begun_with_a_new_one(trained, tmp_path):
    _, state = trained
    torch.save({name: value for name, value in state.items() if name not in HEAD}, tmp_path / "features.pt")
    _, _, report = begun(str(tmp_path / "features.pt"), "full")
    assert set(report.kept) == set(HEAD)
    assert not report.missing


@pytest.mark.parametrize(
    ("of", "line"),
    [
        ({"model": "c3d"}, r"model\.weights\.rgb: .*model\.pt is of c3d, and model\.name is i3d$"),
        ({"stream": "flow"}, r"model\.weights\.rgb: .*model\.pt is of flow, and the stream is rgb$"),
        (
            {"stream": "matching"},
            r"is of matching, and the stream is rgb; a training begins with student\.pt",
        ),
    ],
)
def test_weights_of_another_network_or_stream_are_called_so(of, line, tmp_path):
    save_weights({"w": torch.ones(1)}, replace(OF, **of), tmp_path / "model.pt")
    with torch.device("meta"):
        network = build_network(ModelConfig(name="i3d"), "rgb", 3)
    with pytest.raises(ConfigError, match=line):
        load_start(ModelConfig(name="i3d", weights={"rgb": str(tmp_path)}), "rgb", network, OF)


def test_weights_that_expect_other_levels_are_refused_and_other_differences_said(trained, tmp_path):
    path, state = trained
    with pytest.raises(ConfigError, match=r"model\.levels: imagenet, but model\.weights\.rgb expects signed: give --m"):
        begun(path, levels="imagenet")
    other = {**INPUT, "fps": 12, "frames": 64, "flow_bound": 20.0, "stored_side": 256}
    save_weights(state, replace(OF, input={**other, "flow_backend": "cuda"}), tmp_path / "model.pt")
    _, _, report = begun(str(tmp_path / "model.pt"), "full")
    assert report.notes[-1] == "these weights expect other input: frames 64, here 8; fps 12, here 25"


@pytest.fixture
def run(trained, tmp_path):
    """A run of two networks: three checkpoints of one, the last inside an epoch; one of the other."""
    for network, losses in {"rgb": (0.5, 0.3, 0.4, None), "flow": (0.7,)}.items():
        for number, loss in enumerate(losses):
            folder = tmp_path / "runs" / "mine" / network / f"checkpoint_{number}"
            folder.mkdir(parents=True)
            (folder / "model.pt").symlink_to(f"{trained[0]}/model.pt")
            (folder / "history.json").write_text(json.dumps([{"val/loss": loss or 0.1}]))
            if loss is None:
                (folder / "rank-0.pt").touch()
    return tmp_path / "runs" / "mine"


def chosen(run, path):
    model = ModelConfig(name="i3d", weights={"rgb": str(path)}, streams=("rgb",))
    model, notes = chosen_start(model, str(run.parents[1]))
    return model.weights["rgb"], notes


def test_of_a_run_its_best_checkpoint_is_taken_and_this_is_said(run, trained):
    best = str(run / "rgb" / "checkpoint_1")
    for path, inside in ((run, "rgb/checkpoint_1/model.pt"), (run / "rgb", "checkpoint_1/model.pt")):
        assert chosen(run, path) == (best, [f"model.weights.rgb: of {path} {inside} is taken"])
        assert weights_in(str(path), "rgb") == f"{best}/model.pt"
    assert chosen(run, run.parents[2] / "mine")[0] == best  # by its name, from any folder
    assert chosen(run, best) == (best, [])
    assert chosen(run, "/nowhere.pt") == ("/nowhere.pt", [])


def test_of_a_supervision_transfer_its_student_is_taken(run):
    (run / "student.pt").touch()
    assert chosen(run, run) == (f"{run}/student.pt", [f"model.weights.rgb: of {run} student.pt is taken"])


def test_a_folder_without_a_checkpoint_of_the_stream_says_which_it_has(run):
    with pytest.raises(ConfigError, match=r"weights\.two_stream: no checkpoint of two_stream in .*; it has flow,"):
        weights_in(str(run), "two_stream")
    with pytest.raises(ConfigError, match=r"no checkpoint of rgb in .*runs; give a run's folder"):
        weights_in(str(run.parent), "rgb")


def test_the_folder_of_a_runs_network_stands_for_its_best_checkpoint_in_a_test_as_well(run):
    for number in range(4):
        save(Config(name="mine"), run / "rgb" / f"checkpoint_{number}" / "config.yaml")
    source = checkpointed(run / "rgb")
    assert source.weights == {"rgb": run / "rgb" / "checkpoint_1" / "model.pt"}
    with pytest.raises(ConfigError, match=r"--checkpoint .*mine: no model\.pt there; a run's lie in runs/NAME/STREAM"):
        checkpointed(run)


def test_a_checkpoint_of_a_storage_that_was_moved_has_the_paths_that_are_there_now(run):
    before = override(Config(name="mine", storage="/before"), {"ingest.shards": "/before/shards/set"})
    save(before, run / "rgb" / "checkpoint_1" / "config.yaml")
    storage = str(run.parents[1])
    config = checkpointed(run / "rgb" / "checkpoint_1").config
    assert (config.storage, config.ingest.shards) == (storage, f"{storage}/shards/set")
