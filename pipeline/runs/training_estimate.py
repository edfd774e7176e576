"""What a training would come to, from its config and the number of clips: nothing is started, loaded or written."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pipeline.config import Config
from pipeline.models.cost import count_gmacs, count_parameters
from pipeline.networks import build_network, network_inputs
from pipeline.training.input_check import clip_sizes

GMACS_PER_SECOND = 18.0
"""Of forward passes that a core trains in a second, as measured for the README: 16 of I3D, 22 of a 3D ResNet-18."""


@dataclass(frozen=True)
class TrainingPlan:
    """What a training would come to.

    Attributes:
        clips: the clips of each split that is used.
        classes: that the networks tell apart.
        steps: the steps of an epoch.
        epochs: at most.
        parameters: that are trained, of each network in turn.
        gmacs: billions of multiply-adds of a forward pass of one clip, over all networks.
        core_hours: the core-hours of training and validation on CPUs, right to a factor of two; None on GPUs.
    """

    clips: dict[str, int]
    classes: int
    steps: int
    epochs: int
    parameters: dict[str, int]
    gmacs: float
    core_hours: float | None


def plan_training(config: Config, clips: Mapping[str, int], classes: int, gpu: bool) -> TrainingPlan:
    """Add up a training.

    Args:
        config: resolved, with workers as numbers.
        clips: that can be used, of each split.
        classes: the classes of the clips.
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
    steps = max(1, used[training.train_split] // config.clips_of_a_step)
    epochs = training.epochs if training.steps is None else min(training.epochs, -(-training.steps // steps))
    passes = epochs * (steps * config.clips_of_a_step + used[training.val_split] / 3)
    return TrainingPlan(
        clips=used,
        classes=classes,
        steps=steps,
        epochs=epochs,
        parameters=parameters,
        gmacs=gmacs,
        core_hours=None if gpu else passes * gmacs / GMACS_PER_SECOND / 3600,
    )
