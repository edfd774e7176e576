"""Where a training starts: fresh weights, inflated ones of ImageNet, or another training's; and what of them moves."""

from pathlib import Path

from torch import nn

from pipeline.config import ConfigError, ModelConfig
from pipeline.models import LoadReport, WeightsError, imagenet_weights, load_published
from pipeline.training.checkpoints import WEIGHTS

# conv5_x by the names of the 3D ResNets and DenseNets: 3D-ResNets-PyTorch's `ft_begin_index 4`
LAST_BLOCK = ("layer4.", "norm.", "features.denseblock4.", "features.norm5.")


def load_start(config: ModelConfig, stream: str, network: nn.Module) -> LoadReport | None:
    """Fill a fresh network with what the config names; None where it names nothing.

    Args:
        config: of the network.
        stream: rgb, flow or two_stream.
        network: with fresh weights. Its classifier stays so where the file's has another number of classes.

    Returns:
        What became of every entry of the file and of the network.

    Raises:
        ConfigError: no weights for this stream; weights that cannot be had, read, or fitted to the network.
    """
    if config.fine_tune in ("fixed", "full", "last_block") and stream not in config.weights:
        raise ConfigError(f"model.fine_tune: {config.fine_tune} needs --model.weights.{stream} PATH")
    try:
        if stream in config.weights:
            return load_published(network, checkpoint_weights(config.weights[stream]), replace_classifier=True)
        if config.inflate:
            is_path = "/" in config.inflate or "." in config.inflate
            source = config.inflate if is_path else imagenet_weights(config.inflate)
            return load_published(network, source, replace_classifier=True, partial=True)
    except (WeightsError, ValueError, ConnectionError) as error:
        field = f"weights.{stream}" if stream in config.weights else "inflate"
        raise ConfigError(f"model.{field}: {error}") from error
    return None


def freeze(config: ModelConfig, network: nn.Module) -> None:
    """Take from training what `fine_tune` leaves as it is.

    Raises:
        ConfigError: the network has no such part.
    """
    if config.fine_tune not in ("fixed", "last_block"):
        return
    trained = _head(network) + (LAST_BLOCK if config.fine_tune == "last_block" else ())
    names = [name for name, _ in network.named_parameters()]
    if config.fine_tune == "last_block" and not any(name.startswith(LAST_BLOCK) for name in names):
        raise ConfigError(f"model.fine_tune: last_block is for 3D ResNets and DenseNets, not for {config.name}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith(trained))


def set_training_mode(config: ModelConfig, network: nn.Module) -> None:
    """Training mode; on fixed features only for dropout, so that batch norm keeps the statistics it came with.

    In `last_block` batch norm goes on counting in all blocks, as in the published code.
    """
    network.train()
    if config.fine_tune == "fixed":
        network.eval()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.train()


def checkpoint_weights(path: str) -> str:
    """A checkpoint's folder stands for the network in it."""
    return str(Path(path) / WEIGHTS) if Path(path).is_dir() else path


def _head(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classifier's parameters."""
    trunks, head = getattr(network, "trunks", ("",)), str(getattr(network, "head", "fc"))
    return tuple(f"{trunk}{head}." for trunk in (*trunks, ""))
