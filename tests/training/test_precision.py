"""What makes a step fast changes nothing of what it computes: compiled, distributed, fused, averaged, fed."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import Config, ConfigError, OptimiserConfig, TrainingConfig
from pipeline.training import precision_check as convolutions
from pipeline.training.initial_weights import set_training_mode
from pipeline.training.optimisers import build_optimiser
from pipeline.training.precision import autocast_dtype, compiled, distributed_options, lay_out, set_multiplication
from pipeline.training.precision_check import check_convolutions, check_device, known_faults
from pipeline.training.prefetch import Feed
from pipeline.training.rank import Rank
from pipeline.training.step import train_step
from tests.training.test_step import HERE, Small, batch, state_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def alone(tmp_path):
    """A process group of one worker."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def steps(config, model, state, accumulate):
    """Two steps; the logits of the second."""
    set_training_mode(config.model, model)
    for seed in (0, 2):
        batches = [batch(4, seed + n) for n in range(accumulate)]
        logits = train_step(config.training, config.seed, model, batches, ("rgb",), HERE, state)
    return logits


@pytest.mark.parametrize("accumulate", [1, 2])
def test_compiled_and_distributed_steps_are_plain_ones_of_the_same_network(alone, accumulate):
    config = Config(training=TrainingConfig(compile=True, average=0.5, clip_gradient=0.5))
    torch.manual_seed(0)
    one = Small()
    other = copy.deepcopy(one)
    plain, fast = state_of(one, config), state_of(other, config)
    model = compiled(DistributedDataParallel(other, **distributed_options()), config.training, backend="aot_eager")
    torch.testing.assert_close(steps(config, one, plain, accumulate), steps(config, model, fast, accumulate))
    assert fast.evaluated.state_dict().keys() == plain.evaluated.state_dict().keys() == Small().state_dict().keys()
    for a, b in zip(plain.evaluated.parameters(), fast.evaluated.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_nothing_is_compiled_unless_it_is_asked_for():
    network = Small()
    assert compiled(network, TrainingConfig()) is network


def test_a_loss_that_is_not_finite_stops_every_worker_before_the_update(alone):
    network = Small()
    with torch.no_grad():
        network.fc.bias[0] = math.inf
    config, before = Config(training=TrainingConfig(average=0.5)), copy.deepcopy(network.state_dict())
    state = state_of(network, config)
    with pytest.raises(FloatingPointError, match=r"rgb: loss is nan at step 0; lower optimiser\.lr"):
        train_step(config.training, config.seed, network, [batch(4), batch(4, 1)], ("rgb",), HERE, state)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert (state.step, int(state.average.n_averaged)) == (0, 0)


@pytest.mark.parametrize("optimiser", [OptimiserConfig(dampening=0.5), OptimiserConfig(name="adamw", lr=0.01)])
def test_a_state_of_another_memory_format_is_taken_up_in_the_one_at_hand(optimiser):
    """As when a training goes on on another kind of device: fused kernels do not look at strides."""
    config = Config(optimiser=optimiser)
    torch.manual_seed(0)
    network = Small()
    state = state_of(network, config)
    steps(config, network, state, 1)
    stored = copy.deepcopy(state.optimiser.state_dict())
    for values in stored["state"].values():
        for name, value in values.items():
            if value.dim() == 5:
                values[name] = value.to(memory_format=torch.channels_last_3d)
    for group in stored["param_groups"]:
        group["fused"] = None
    again = copy.deepcopy(network)
    other = state_of(again, config)
    other.optimiser.load_state_dict(stored)
    other.step = state.step
    for one, model in ((state, network), (other, again)):
        train_step(config.training, config.seed, model, [batch(4, 5)], ("rgb",), HERE, one)
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert other.optimiser.param_groups[0]["fused"] is True


def test_a_fused_update_is_the_plain_one():
    torch.manual_seed(0)
    network = Small()
    other = copy.deepcopy(network)
    fused = build_optimiser(OptimiserConfig(lr=0.1, weight_decay=0.01, nesterov=True), network)
    plain = torch.optim.SGD(other.parameters(), 0.1, 0.9, weight_decay=0.01, nesterov=True, foreach=False)
    for _ in range(3):
        for a, b in zip(network.parameters(), other.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        fused.step()
        plain.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_low_precision_is_for_gpus_unless_it_is_asked_for():
    assert [autocast_dtype("auto", device) for device in (CPU, CUDA)] == [None, torch.bfloat16]
    assert [autocast_dtype(name, CUDA) for name in ("fp32", "tf32", "bf16")] == [None, None, torch.bfloat16]
    assert autocast_dtype("bf16", CPU) == torch.bfloat16


def test_full_precision_means_no_tf32_and_nothing_else_does():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for name, allowed in (("fp32", False), ("tf32", True), ("auto", True), ("fp32", False)):
            set_multiplication(name, CUDA)
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (allowed, allowed)
        set_multiplication("bf16", CPU)
        assert torch.backends.cudnn.allow_tf32 is False
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_3d_convolutions_alone_change_their_memory_format_and_on_gpus_only():
    network = nn.Sequential(nn.Conv3d(3, 4, 3), nn.Conv2d(3, 4, 3))
    assert lay_out(network, CPU)[0].weight.is_contiguous()
    lay_out(network, CUDA)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert network[1].weight.is_contiguous()


def test_convolutions_in_bfloat16_are_right_here():
    check_device("bf16", replace(HERE, dtype=torch.bfloat16))


def wrong(y):
    """In bfloat16 alone: the first frame of eight a tenth too large."""
    return torch.cat([y[:, :, :1] * 1.1, y[:, :, 1:]], dim=2)


@pytest.mark.parametrize("fault", [wrong, lambda y: y * math.nan, lambda y: y.roll(1, dims=1)])
def test_a_convolution_that_is_wrong_in_bfloat16_is_one_line_that_says_what_to_do(fault):
    def convolve(clip, weight, **options):
        y = F.conv3d(clip, weight, **options)
        return fault(y) if y.dtype == torch.bfloat16 else y

    with pytest.raises(ConfigError) as caught:
        check_convolutions(CPU, torch.bfloat16, convolve)
    message = str(caught.value)
    assert message.startswith("training.precision: a 7x7x7 convolution of stride 2 (contiguous_format) in bfloat16 is ")
    assert f"(torch {torch.__version__}); train with --training.precision fp32, or " in message
    assert "\n" not in message


def test_a_wrong_gradient_is_found_too():
    class Detached(torch.autograd.Function):
        @staticmethod
        def forward(_, y):
            return y.clone()

        @staticmethod
        def backward(_, gradient):
            return gradient * 1.05 if gradient.dtype == torch.bfloat16 else gradient

    with pytest.raises(ConfigError, match=r"5.* % off float32"):
        check_convolutions(CPU, torch.bfloat16, lambda *inputs, **options: Detached.apply(F.conv3d(*inputs, **options)))


def test_full_precision_is_not_tested(monkeypatch):
    monkeypatch.setattr(convolutions, "TYPICAL", None)
    for precision in ("auto", "fp32", "tf32"):
        check_device(precision, HERE)


def test_versions_of_cudnn_with_known_faults_are_named():
    assert [len(known_faults(version)) for version in (None, 90701, 90800, 91002, 91501, 91600)] == [0, 0, 1, 2, 1, 0]
    assert known_faults(91002)[0].startswith("cuDNN 9.10.2: wrong bfloat16 results on large clips")


def test_a_feed_has_every_batch_in_turn_and_counts_the_wait():
    given = [batch(2, seed) for seed in range(3)]
    feed = Feed(iter(given), CPU)
    assert list(feed) == given
    assert 0 < feed.waited < 1


@gpu
@pytest.mark.gpu
def test_a_feed_copies_to_the_gpu_in_order_and_an_error_of_the_loader_comes_through():
    given = [batch(2, seed) for seed in range(5)]

    def failing():
        yield from given
        raise RuntimeError("no more")

    seen = []
    with pytest.raises(RuntimeError, match="no more"):
        seen.extend(Feed(failing(), CUDA))
    for ours, theirs in zip(seen, given, strict=True):
        assert ours.labels.is_cuda
        assert torch.equal(ours.windows["rgb"].cpu(), theirs.windows["rgb"])


@gpu
@pytest.mark.gpu
def test_a_step_on_a_gpu_is_that_on_the_cpu_and_never_waits():
    config = Config(training=TrainingConfig(average=0.5, clip_gradient=0.5, precision="fp32"))
    set_multiplication("fp32", CUDA)
    torch.manual_seed(0)
    one = Small()
    other = lay_out(copy.deepcopy(one), CUDA).cuda()
    plain, fast = state_of(one, config), state_of(other, config)
    there = Rank(0, 1, CUDA, None)
    for number, moved in enumerate(Feed(iter([batch(4, seed) for seed in range(3)]), CUDA)):
        torch.cuda.set_sync_debug_mode("error" if number else "default")  # after the first step all memory is there
        try:
            train_step(config.training, config.seed, other, [moved], ("rgb",), there, fast)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        train_step(config.training, config.seed, one, [batch(4, number)], ("rgb",), HERE, plain)
    for a, b in zip(plain.evaluated.parameters(), fast.evaluated.parameters(), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-4, atol=1e-5)
