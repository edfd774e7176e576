"""The optimiser that a config names."""

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from pipeline.config import OptimiserConfig


def build_optimiser(config: OptimiserConfig, network: nn.Module) -> Optimizer:
    """An optimiser of those parameters that are trained."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if config.name == "adamw":
        betas = (config.momentum, config.beta2)
        return AdamW(trained, lr=config.lr, betas=betas, weight_decay=config.weight_decay)
    return SGD(
        trained,
        lr=config.lr,
        momentum=config.momentum,
        dampening=config.dampening,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )
