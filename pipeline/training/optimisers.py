"""The optimiser that a config names."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from pipeline.config import OptimiserConfig


def build_optimiser(config: OptimiserConfig, network: nn.Module) -> Optimizer:
    """Build an optimiser of the parameters that are trained; it is fused, so one kernel updates them all."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    optimiser: Optimizer
    if config.name == "adamw":
        optimiser = AdamW(trained, betas=(config.momentum, config.beta2), **common)
    else:
        momentum, dampening, nesterov = config.momentum, config.dampening, config.nesterov
        optimiser = SGD(trained, momentum=momentum, dampening=dampening, nesterov=nesterov, **common)
    optimiser.register_load_state_dict_post_hook(_fit)
    return optimiser


def _fit(optimiser: Optimizer) -> None:
    """Give a loaded state the memory layout of the parameters, because fused kernels ignore strides.

    A checkpoint from another kind of device may have another layout, or an optimiser that is not fused.
    """
    for group in optimiser.param_groups:
        group["fused"] = True
        for parameter in group["params"]:
            state = optimiser.state.get(parameter, {})
            for name, value in state.items():
                if isinstance(value, Tensor):
                    same = value.shape == parameter.shape
                    state[name] = torch.empty_like(parameter).copy_(value) if same else value.to(parameter.device)
