"""Estimate of the cost of a training, from its config and the number of clips, without starting or loading anything."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pipeline.config import Config
from pipeline.models.cost import count_gmacs, count_parameters
from pipeline.networks import build_network, network_inputs
from pipeline.training.input_check import clip_sizes

GMACS_PER_SECOND = 18.0
"""Billions of multiply-adds of forward passes that a core trains per second.

As measured for the README: 16 with I3D, 22 with a 3D ResNet-18.
"""


@dataclass(frozen=True)
class TrainingPlan:
    """The size and cost of a training.

    Attributes:
        clips: number of clips of each split that is used.
        classes: number of classes.
        steps: number of steps of an epoch.
        epochs: largest number of epochs.
        parameters: number of trainable parameters of each network, before any are frozen.
        gmacs: billions of multiply-adds of a forward pass of one clip, summed over all networks.
        core_hours: core-hours of training and validation on CPUs, right to a factor of two; None on GPUs.
    """

    clips: dict[str, int]
    classes: int
    steps: int
    epochs: int
    parameters: dict[str, int]
    gmacs: float
    core_hours: float | None


def plan_training(config: Config, clips: Mapping[str, int], classes: int, gpu: bool) -> TrainingPlan:
    """Estimate the size and cost of a training.

    Args:
        config: a resolved config, with the number of workers as a number.
        clips: number of usable clips of each split.
        classes: number of classes of the clips.
        gpu: whether it would run on GPUs.
    """
    training, parameters, gmacs = config.training, dict[str, int](), 0.0
    for name, streams in network_inputs(config.model).items():
        with torch.device("meta"):
            network = build_network(config.model, name, max(2, classes)).eval()
            inputs = [torch.empty(1, *size) for size in clip_sizes(config.clips, streams)]
        parameters[name] = count_parameters(network)
        names = streams if len(streams) > 1 else ("x",)
        gmacs += count_gmacs(network, **dict(zip(names, inputs, strict=True)))
    used = {split: clips.get(split, 0) for split in (training.train_split, training.val_split, config.evaluation.split)}
    used[training.train_split] = round(used[training.train_split] * training.train_fraction)
    steps = max(1, used[training.train_split] // config.clips_of_a_step)
    epochs = training.epochs if training.steps is None else min(training.epochs, -(-training.steps // steps))
    passes = epochs * (steps * config.clips_of_a_step * config.clips.segments + used[training.val_split] / 3)
    return TrainingPlan(
        clips=used,
        classes=classes,
        steps=steps,
        epochs=epochs,
        parameters=parameters,
        gmacs=gmacs,
        core_hours=None if gpu else passes * gmacs / GMACS_PER_SECOND / 3600,
    )
