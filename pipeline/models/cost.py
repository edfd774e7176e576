"""What a network costs: parameters, and multiply-adds of its convolutions and linear layers."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_gmacs(model: nn.Module, **inputs: Tensor) -> float:
    """Billions of multiply-adds of one forward pass; a model and inputs on the meta device cost no time."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    return counter.get_total_flops() / 2e9
