"""One optimiser step, without a cluster: accumulated, smoothed, averaged, frozen; every kind of network."""

import copy

import pytest
import torch
from torch import nn

from pipeline.clips.loader import Batch
from pipeline.config import Config, ConfigError, ModelConfig, OptimiserConfig, ScheduleConfig, TrainingConfig
from pipeline.networks import build_network
from pipeline.training.batch_norm import precise_statistics, synchronise
from pipeline.training.checkpoints import State
from pipeline.training.ema import build_average
from pipeline.training.initial_weights import freeze, load_start, set_training_mode
from pipeline.training.learning_rate import build_plateau
from pipeline.training.optimisers import build_optimiser
from pipeline.training.rank import Rank
from pipeline.training.step import train_step

HERE = Rank(0, 1, torch.device("cpu"), None)


class Small(nn.Module):
    """A network without batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv3d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean(dim=(2, 3, 4)))


def batch(clips, seed=0):
    generator = torch.Generator().manual_seed(seed)
    windows = torch.randint(256, (clips, 4, 8, 8, 3), dtype=torch.uint8, generator=generator)
    return Batch({"rgb": windows}, torch.arange(clips) % 5, torch.arange(clips))


def part(whole, start, stop):
    return Batch({"rgb": whole.windows["rgb"][start:stop]}, whole.labels[start:stop], whole.rows[start:stop])


def state_of(network, config):
    average = build_average(network, config.training.average)
    return State(network, build_optimiser(config.optimiser, network), average=average)


@pytest.mark.parametrize(
    "optimiser",
    [OptimiserConfig(dampening=0.5, weight_decay=1e-2), OptimiserConfig(name="adamw", lr=1e-2)],
    ids=["sgd", "adamw"],
)
def test_small_batches_added_up_are_one_big_batch(optimiser):
    config = Config(optimiser=optimiser, training=TrainingConfig(label_smoothing=0.1, clip_gradient=0.5))
    torch.manual_seed(0)
    one = Small()
    other = copy.deepcopy(one)
    whole = batch(12)
    states = state_of(one, config), state_of(other, config)
    for _ in range(2):
        big = train_step(config.training, config.seed, one, [whole], ("rgb",), HERE, states[0])
        cut = [part(whole, start, start + 4) for start in range(0, 12, 4)]
        small = train_step(config.training, config.seed, other, cut, ("rgb",), HERE, states[1])
        torch.testing.assert_close(big, small)
    assert states[0].step == states[1].step == 2
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_dampening_and_nesterov_reach_the_optimiser():
    network = Small()
    sgd = build_optimiser(OptimiserConfig(dampening=0.9), network)
    assert (sgd.defaults["momentum"], sgd.defaults["dampening"], sgd.defaults["nesterov"]) == (0.9, 0.9, False)
    assert build_optimiser(OptimiserConfig(nesterov=True), network).defaults["nesterov"] is True
    with pytest.raises(ValueError, match="nesterov: needs momentum above 0 and dampening 0"):
        OptimiserConfig(nesterov=True, dampening=0.9)


def test_the_average_follows_the_weights_and_is_what_is_stored_and_restored(tmp_path):
    config = Config(training=TrainingConfig(average=0.2))
    torch.manual_seed(0)
    network = Small()
    state = state_of(network, config)
    weights = []
    for seed in range(3):
        train_step(config.training, config.seed, network, [batch(4, seed)], ("rgb",), HERE, state)
        weights.append(network.fc.weight.detach().clone())
    # the first update copies; decays then are min(0.2, 2 / 11) = 0.1818 and min(0.2, 3 / 12) = 0.2
    expected = weights[0].lerp(weights[1], 9 / 11).lerp(weights[2], 0.8)
    torch.testing.assert_close(state.evaluated.fc.weight, expected)
    state.save(tmp_path)
    stored = torch.load(tmp_path / "model.pt", weights_only=True)
    torch.testing.assert_close(stored["fc.weight"], expected)

    other = Small()
    again = state_of(other, config)
    again.load(tmp_path, HERE.device)
    for one in (state, again):
        train_step(config.training, config.seed, one.model, [batch(4, 9)], ("rgb",), HERE, one)
    for a, b in zip(state.evaluated.parameters(), again.evaluated.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(state.model.fc.weight, again.model.fc.weight)


def test_a_plateau_is_stored_and_restored(tmp_path):
    states = []
    for _ in range(2):
        network = Small()
        optimiser = build_optimiser(OptimiserConfig(), network)
        states.append(State(network, optimiser, build_plateau(ScheduleConfig(patience=1), optimiser)))
    one, again = states
    for loss in (2.0, 3.0):
        one.plateau.step(loss)
    one.save(tmp_path)
    again.load(tmp_path, HERE.device)
    again.plateau.step(3.0)  # the second epoch without a better loss
    assert again.optimiser.param_groups[0]["lr"] == pytest.approx(0.01)


def test_precise_statistics_are_the_mean_over_the_batches_and_move_no_weights():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm3d(2, momentum=0.01), nn.BatchNorm3d(2)).train()
    network[1].eval()  # frozen
    batches = [torch.randn(4, 2, 3, 5, 5) * 3 + 7 for _ in range(3)]
    precise_statistics(network, ((x,) for x in batches))
    means = torch.stack([x.mean(dim=(0, 2, 3, 4)) for x in batches]).mean(dim=0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(dim=1) for x in batches]).mean(dim=0)
    torch.testing.assert_close(network[0].running_mean, means)
    torch.testing.assert_close(network[0].running_var, variances)
    assert network[0].momentum == 0.01
    assert torch.equal(network[1].running_mean, torch.zeros(2))


def test_batch_norm_over_all_workers_replaces_every_batch_norm_and_needs_gpus():
    network = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4))
    with pytest.raises(ConfigError, match=r"training\.sync_batch_norm: needs GPUs"):
        synchronise(network, torch.device("cpu"))
    assert isinstance(synchronise(network, torch.device("cuda"))[1], nn.SyncBatchNorm)


def fine_tuned(mode, path):
    config = ModelConfig(name="i3d", fine_tune=mode, weights={"rgb": str(path)}, streams=("rgb",))
    network = build_network(config, "rgb", 5)
    report = load_start(config, "rgb", network)
    freeze(config, network)
    set_training_mode(config, network)
    return network, report


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint's folder of a network of 7 classes."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(1)
    torch.save(build_network(ModelConfig(name="i3d"), "rgb", 7).state_dict(), folder / "model.pt")
    return folder


def test_fixed_trains_a_new_classifier_on_features_that_stay(checkpoint):
    network, report = fine_tuned("fixed", checkpoint)
    head = {"logits.conv3d.weight", "logits.conv3d.bias"}
    assert {name for name, value in network.named_parameters() if value.requires_grad} == head
    assert report.kept["logits.conv3d.weight"] == "fresh classifier"
    assert not any(module.training for module in network.modules() if isinstance(module, nn.BatchNorm3d))
    assert network.dropout.training
    config = Config()
    before = copy.deepcopy(network.state_dict())
    train_step(config.training, config.seed, network, [batch(4)], ("rgb",), HERE, state_of(network, config))
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == head


def test_full_trains_everything(checkpoint):
    network, _ = fine_tuned("full", checkpoint)
    assert all(value.requires_grad for value in network.parameters())
    stored = torch.load(checkpoint / "model.pt", weights_only=True)
    assert torch.equal(network.Mixed_5c.b0.conv3d.weight, stored["Mixed_5c.b0.conv3d.weight"])
    assert network.Mixed_5c.b0.bn.training


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet3d18", {"layer4", "fc"}),
        ("preact_resnet3d200", {"layer4", "fc"}),
        ("hara_densenet3d121", {"features.denseblock4", "features.norm5", "classifier"}),
    ],
)
def test_the_last_block_and_the_classifier_are_trained_and_statistics_move(name, expected):
    config = ModelConfig(name=name, fine_tune="last_block")
    with torch.device("meta"):
        network = build_network(config, "rgb", 4)
    freeze(config, network)
    set_training_mode(config, network)
    trained = [name for name, value in network.named_parameters() if value.requires_grad]
    assert all(name.startswith(tuple(expected)) for name in trained)
    assert all(any(name.startswith(prefix) for name in trained) for prefix in expected)
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fine_tune": "full"}, r"model\.fine_tune: full needs --model\.weights\.rgb PATH"),
        ({"weights": {"rgb": "/nowhere.pt"}}, r"model\.weights\.rgb: /nowhere\.pt: no such file"),
        ({"inflate": "resnet5"}, r"model\.inflate: torchvision has no weights"),
    ],
)
def test_a_start_that_cannot_be_made_names_its_field(values, message):
    config = ModelConfig(name="i3d", **values)
    with torch.device("meta"):
        network = build_network(config, "rgb", 3)
    with pytest.raises(ConfigError, match=message):
        load_start(config, "rgb", network)


def test_the_last_block_is_one_of_resnets_and_densenets():
    with torch.device("meta"):
        config = ModelConfig(name="i3d", fine_tune="last_block")
        with pytest.raises(ConfigError, match=r"last_block is for 3D ResNets and DenseNets, not for i3d"):
            freeze(config, build_network(config, "rgb", 3))


@pytest.mark.parametrize("name", ["c3d", "i3d", "convnet_lstm", "two_stream", "fused_two_stream", "t3d121"])
def test_a_fixed_network_of_every_kind_trains_its_classifier_alone(name):
    config = ModelConfig(name=name, fine_tune="fixed")
    with torch.device("meta"):
        network = build_network(config, "two_stream" if "two_stream" in name else "rgb", 13)
    freeze(config, network)
    trained = [value for value in network.parameters() if value.requires_grad]
    assert {value.shape[0] for value in trained} == {13}
    assert len(trained) == (4 if name == "two_stream" else 2)
