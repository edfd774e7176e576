"""Every kind of network under its recipe takes two real optimiser steps, at a reduced size and without a cluster."""

from dataclasses import replace

import pytest
import torch

from pipeline.clips.loader import Batch
from pipeline.clips.streams import CHANNELS
from pipeline.config import Config
from pipeline.networks import build_network, network_inputs
from pipeline.recipes import FINE_TUNE, PRETRAIN
from pipeline.training.checkpoints import State
from pipeline.training.ema import build_average
from pipeline.training.initial_weights import freeze, set_training_mode
from pipeline.training.learning_rate import build_plateau, planned_rate, set_rate
from pipeline.training.optimisers import build_optimiser
from pipeline.training.rank import Rank
from pipeline.training.step import train_step

RECIPES = {**PRETRAIN, **FINE_TUNE}
# One recipe for each kind of network, in frames and pixels that it can take; the others differ in depth alone.
REDUCED = {
    "i3d_flow_kinetics": (8, 16),
    "convnet_lstm_kinetics": (3, 16),
    "c3d_kinetics": (16, 16),
    "two_stream_kinetics": (10, 16),
    "fused_two_stream_kinetics": (20, 16),
    "two_stream_flow_imagenet_kinetics": (10, 16),
    "t3d121_kinetics": (16, 29),
    "resnet3d18_kinetics": (8, 16),
    "inception3d_ttl_kinetics": (8, 16),
    "resnext3d101_ucf101": (8, 16),
    "hara_densenet3d121_kinetics": (16, 29),
    "i3d_resnet50_modern": (8, 48),  # in bf16 smaller pictures leave batch norm two equal values and no variance
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "i3d_resnet50_modern" else ()) for name in REDUCED]
)
def test_two_steps_move_what_the_recipe_trains_and_nothing_else(name):
    config = RECIPES[name]()
    frames, side = REDUCED[name]
    options = {**config.model.options, **({"size": side} if config.model.name == "c3d" else {})}
    model = replace(config.model, options=options)
    training = replace(config.training, accumulate=min(config.training.accumulate, 2))
    config = replace(config, clips=replace(config.clips, frames=frames, crop=side), model=model, training=training)
    torch.manual_seed(0)
    for stream, streams in network_inputs(config.model).items():
        network = build_network(config.model, stream, num_classes=7)
        freeze(config.model, network)
        set_training_mode(config.model, network)
        optimiser = build_optimiser(config.optimiser, network)
        average = build_average(network, config.training.average)
        state = State(network, optimiser, build_plateau(config.schedule, optimiser), average)
        here = Rank(0, 1, torch.device("cpu"), torch.bfloat16 if config.training.precision == "bf16" else None)
        before = {key: value.detach().clone() for key, value in network.named_parameters()}
        for _ in range(2):
            set_rate(optimiser, planned_rate(config.schedule, config.optimiser.lr, state.step, 0, 100))
            batches = [batch(config, streams)] * config.training.accumulate
            logits = train_step(config.training, config.seed, network, batches, streams, here, state)
            assert logits.shape == (2 * len(batches), 7)
        assert state.step == 2
        for key, value in network.named_parameters():
            assert value.isfinite().all(), key
            assert torch.equal(value, before[key]) != value.requires_grad, key


def batch(config: Config, streams: tuple[str, ...]) -> Batch:
    """Two clips of noise."""
    generator = torch.Generator().manual_seed(1)
    windows = {}
    for stream in streams:
        paired = len(streams) > 1 and stream == "rgb"
        frames = config.clips.frames // (config.clips.rgb_every if paired else 1)
        shape = (2, frames, config.clips.crop, config.clips.crop, CHANNELS[stream])
        windows[stream] = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return Batch(windows, torch.tensor([1, 5]), torch.arange(2))


@pytest.mark.parametrize("name", sorted({recipe().model.name for recipe in RECIPES.values()}))
def test_every_network_of_a_recipe_is_built_with_its_options(name):
    for recipe in RECIPES.values():
        config = recipe()
        if config.model.name == name:
            with torch.device("meta"):
                for stream in network_inputs(config.model):
                    freeze(config.model, build_network(config.model, stream, num_classes=7))
