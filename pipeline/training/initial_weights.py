"""Where a training starts: fresh weights, inflated ones of ImageNet, or another training's; and what of them moves."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from pipeline.config import Config, ConfigError, ModelConfig, nearest
from pipeline.models import (
    PUBLISHED_FILES,
    LoadReport,
    WeightsError,
    imagenet_weights,
    load_published,
    named_weights,
    published_file,
)
from pipeline.models.tensorflow_checkpoint import find_prefix
from pipeline.models.weights import Provenance, read_weights
from pipeline.training.checkpoints import WEIGHTS, best_checkpoint
from pipeline.training.classes import other_classes
from pipeline.training.provenance import other_input

TUNED = ("fixed", "full", "last_block")  # modes of model.fine_tune that begin with weights and a new classifier
STUDENT_FILE = "student.pt"  # of a supervision transfer
# conv5_x by the names of the 3D ResNets and DenseNets: 3D-ResNets-PyTorch's `ft_begin_index 4`
LAST_BLOCK = ("layer4.", "norm.", "features.denseblock4.", "features.norm5.")


def load_start(
    config: ModelConfig, stream: str, network: nn.Module, here: Provenance | None = None
) -> LoadReport | None:
    """Fill a fresh network with what the config names; None where it names nothing.

    Inflated networks, and those of fixed, full and last_block, keep their new classifier. Where a training goes on with
    weights (fine_tune none), classes are compared by name: of the same ones the classifier is taken, in the order of
    the data; of others it is new. A file that does not name its classes is compared by their number.

    Args:
        config: the config of the network.
        stream: rgb, flow or two_stream.
        network: with fresh weights.
        here: what the training is of; where it is not known yet, the classifier stays new.

    Returns:
        What became of every entry of the file and of the network.

    Raises:
        ConfigError: no weights for this stream; weights that cannot be had, read, or fitted to the network, or that
            expect other levels of RGB.
    """
    if config.fine_tune in TUNED and stream not in config.weights:
        raise ConfigError(f"model.fine_tune: {config.fine_tune} needs --model.weights.{stream} PATH")
    field = f"weights.{stream}" if stream in config.weights else "inflate"
    try:
        if stream in config.weights:
            return _start(config, stream, network, here)
        if config.inflate:
            is_path = "/" in config.inflate or "." in config.inflate
            source = config.inflate if is_path else imagenet_weights(config.inflate)
            return load_published(network, source, replace_classifier=True, partial=True)
    except ConfigError:
        raise
    except (WeightsError, ValueError, ConnectionError) as error:
        raise ConfigError(f"model.{field}: {error}") from error
    return None


def _start(config: ModelConfig, stream: str, network: nn.Module, here: Provenance | None) -> LoadReport:
    """A network filled with the weights of its stream, and notes on its classifier and its input."""
    path = weights_in(config.weights[stream], stream)
    known = known_provenance(path)
    for name, of, wanted in (("model.name", known.model, config.name), ("the stream", known.stream, stream)):
        if of not in ("", wanted):
            hint = f"; a training begins with {STUDENT_FILE} of that run" if of == "matching" else ""
            raise ConfigError(f"model.weights.{stream}: {path} is of {of}, and {name} is {wanted}{hint}")
    if (levels := known.input.get("levels", config.levels)) != config.levels:
        raise ConfigError(
            f"model.levels: {config.levels}, but model.weights.{stream} expects {levels}: give --model.levels {levels}"
        )
    if here is None or config.fine_tune in TUNED:
        report = load_published(network, path, replace_classifier=True)
        report.notes.append(f"a new classifier, as model.fine_tune {config.fine_tune} has it")
    else:
        report = _continued(network, path, known, here)
    if here is not None and (differs := other_input(known.input, here.input)):
        report.notes.append(f"these weights expect other input: {differs}")
    return report


def _continued(network: nn.Module, path: str, known: Provenance, here: Provenance) -> LoadReport:
    """The weights of a training that goes on, with their classifier where it is of the same classes."""
    rows = known.rows(here.labels)
    if not known.labels:
        of_no_classes = bool(known.digest)  # such as the student of a supervision transfer
        report = load_published(network, path, replace_classifier=True if of_no_classes else None)
        if "fresh classifier" in report.kept.values():
            report.notes.append("a new classifier, since the weights are of other classes or of none")
        else:
            report.notes.append("its classifier by the number of classes, since the file does not name them")
    elif rows is None:
        report = load_published(network, path, replace_classifier=True)
        report.notes.append(f"a new classifier, since {other_classes(known.labels, here.labels)}")
    elif known.labels == here.labels:
        report = load_published(network, path)
        report.notes.append("its classifier, which is of the same classes")
    else:
        report = load_published(network, path, rows=rows)
        report.notes.append("its classifier, with the classes put in the order of the data")
    return report


def known_provenance(path: str) -> Provenance:
    """What weights are of; nothing is known of TensorFlow's."""
    return Provenance() if find_prefix(Path(path)) else read_weights(path).provenance


def with_published(model: ModelConfig) -> ModelConfig:
    """The network's config with the options and levels that published weights known by their name need.

    Raises:
        ConfigError: they are of another network.
    """
    for stream, weights in model.weights.items():
        known = published_file(weights)
        if known is None:
            continue
        if known.network != model.name:
            raise ConfigError(
                f"model.weights.{stream}: {weights} is of {known.network}; give --model.name {known.network}"
            )
        model = replace(model, options={**known.options, **model.options}, levels=known.levels)  # type: ignore[arg-type]
    return model


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


def chosen_start(config: Config) -> tuple[Config, list[str]]:
    """The config with checkpoints in the place of the runs that model.weights may name, so that it can be repeated.

    Returns:
        The config; and a sentence for each run that a checkpoint was taken of.

    Raises:
        ConfigError: a folder holds no checkpoint of the stream.
    """
    chosen, notes = {}, []
    for stream, path in config.model.weights.items():
        place = Path(path)
        named = Path(config.storage, "runs", place.name)  # of a run that is called by its name alone
        folder = named if not place.exists() and named.is_dir() else place
        chosen[stream] = str(folder)
        if folder.is_dir() and not (folder / WEIGHTS).is_file():
            file = Path(weights_in(str(folder), stream))
            chosen[stream] = str(file.parent if file.name == WEIGHTS else file)
            notes.append(f"model.weights.{stream}: of {folder} {file.relative_to(folder)} is taken")
    return replace(config, model=replace(config.model, weights=chosen)), notes


def weights_in(path: str, stream: str) -> str:
    """The file that a path stands for: itself, or the weights of a checkpoint, of a run, or of one of its networks.

    A published file by its name is downloaded to this machine where it is not there yet. Of several checkpoints it is
    the one of the lowest validation loss; of a supervision transfer, its student.

    Raises:
        ConfigError: the folder holds none of these.
        ConnectionError: the published file cannot be had.
    """
    folder = Path(path)
    if path in PUBLISHED_FILES and not folder.exists():
        return str(named_weights(path))
    if not folder.is_dir():
        if "/" not in path and not folder.exists() and not find_prefix(folder):
            known = nearest(path, list(PUBLISHED_FILES))
            raise ConfigError(f"model.weights.{stream}: {path}: no such file, run or published name; {known}")
        return path
    for file in (folder / WEIGHTS, folder / STUDENT_FILE):
        if file.is_file():
            return str(file)
    if checkpoint := best_checkpoint(folder / stream) or best_checkpoint(folder):
        return str(checkpoint / WEIGHTS)
    networks = sorted(file.parents[1].name for file in folder.glob(f"*/checkpoint_*/{WEIGHTS}"))
    has = f"it has {', '.join(dict.fromkeys(networks))}" if networks else "give a run's folder, or one of a checkpoint"
    raise ConfigError(f"model.weights.{stream}: no checkpoint of {stream} in {path}; {has}")


def _head(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classifier's parameters."""
    trunks, head = getattr(network, "trunks", ("",)), str(getattr(network, "head", "fc"))
    return tuple(f"{trunk}{head}." for trunk in (*trunks, ""))
