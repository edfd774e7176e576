"""Cost of a network: parameters, and multiply-adds of its convolutions and linear layers."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_gmacs(model: nn.Module, **inputs: Tensor) -> float:
    """Count multiply-adds of one forward pass, in billions; a model and inputs on the meta device take no time."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    return counter.get_total_flops() / 2e9
