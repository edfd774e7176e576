"""The initial weights of a training (fresh, inflated from ImageNet, or another training's) and which are trained."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from pipeline.config import ConfigError, ModelConfig, is_path, nearest
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

TUNED = ("fixed", "full", "last_block")  # modes of model.fine_tune that start from weights with a new classifier
STUDENT_FILE = "student.pt"  # the 3D network that a supervision transfer stores
# conv5_x under its names in the 3D ResNets and DenseNets; this is `ft_begin_index 4` of 3D-ResNets-PyTorch
LAST_BLOCK = ("layer4.", "norm.", "features.denseblock4.", "features.norm5.")


def load_start(
    config: ModelConfig, stream: str, network: nn.Module, here: Provenance | None = None
) -> LoadReport | None:
    """Load the weights that the config names into a fresh network; return None if it names none.

    The classifier stays new if the weights are inflated, or if `fine_tune` is fixed, full or last_block. If a training
    continues from weights (`fine_tune` none), classes are compared by name: if they are the same, the classifier is
    loaded and put in the order of the data; otherwise it is new. For a file that does not name its classes, their
    numbers are compared.

    Args:
        config: the config of the network.
        stream: rgb, flow or two_stream.
        network: the network with fresh weights, into which the weights are loaded.
        here: the provenance of the training; if it is None, the classifier stays new.

    Returns:
        A report on every entry of the file and of the network.

    Raises:
        ConfigError: `fine_tune` needs weights for this stream and there are none; or the weights cannot be found, read
            or fitted to the network, or expect other levels of RGB.
    """
    if config.fine_tune in TUNED and stream not in config.weights:
        raise ConfigError(f"model.fine_tune: {config.fine_tune} needs --model.weights.{stream} PATH")
    field = f"weights.{stream}" if stream in config.weights else "inflate"
    try:
        if stream in config.weights:
            return _start(config, stream, network, here)
        if config.inflate:
            source = config.inflate if is_path(config.inflate) else imagenet_weights(config.inflate)
            return load_published(network, source, replace_classifier=True, partial=True)
    except ConfigError:
        raise
    except (WeightsError, ValueError, ConnectionError) as error:
        raise ConfigError(f"model.{field}: {error}") from error
    return None


def _start(config: ModelConfig, stream: str, network: nn.Module, here: Provenance | None) -> LoadReport:
    """Load the weights of a stream into the network; the report notes what becomes of the classifier and the input."""
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
    """Load weights from which a training continues, with their classifier if it has the same classes."""
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
    """Return the provenance of weights; it is empty for TensorFlow checkpoints."""
    return Provenance() if find_prefix(Path(path)) else read_weights(path).provenance


def with_published(model: ModelConfig) -> ModelConfig:
    """Return the network's config with the options and levels that its published weights, given by name, need.

    Raises:
        ConfigError: the weights are those of another network.
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
    """Exclude from training the parameters that `fine_tune` keeps fixed.

    Raises:
        ConfigError: `fine_tune` is last_block and the network has no such block.
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
    """Set training mode; with fixed features only for dropout, so that batch norm keeps its loaded statistics.

    With `last_block`, batch norm updates its statistics in all blocks, as in the published code.
    """
    network.train()
    if config.fine_tune == "fixed":
        network.eval()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.train()


def chosen_start(model: ModelConfig, storage: str) -> tuple[ModelConfig, list[str]]:
    """Replace each run that `model.weights` names by its checkpoint, so that the config can be repeated.

    Args:
        model: the network and its weights.
        storage: folder or URI of the storage, whose runs may be given by their names alone.

    Returns:
        The network, and one sentence for each run from which a checkpoint was taken.

    Raises:
        ConfigError: a folder holds no checkpoint of the stream.
    """
    chosen, notes = {}, []
    for stream, path in model.weights.items():
        place = Path(path)
        named = Path(storage, "runs", place.name)  # for a run that is given by its name alone
        folder = named if not place.exists() and named.is_dir() else place
        chosen[stream] = str(folder)
        if folder.is_dir() and not (folder / WEIGHTS).is_file():
            file = Path(weights_in(str(folder), stream))
            chosen[stream] = str(file.parent if file.name == WEIGHTS else file)
            notes.append(f"model.weights.{stream}: of {folder} {file.relative_to(folder)} is taken")
    return replace(model, weights=chosen), notes


def weights_in(path: str, stream: str) -> str:
    """Return the file that a path stands for: itself, or the weights of a checkpoint, a run, or one of its networks.

    If the path is the name of a published file, the file is downloaded if this machine does not have it yet. Of several
    checkpoints, the one with the lowest validation loss is taken; of a supervision transfer, the student.

    Raises:
        ConfigError: there is no such file or name, or the folder holds no weights.
        ConnectionError: the published file cannot be downloaded.
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
    """Return the prefixes of the names of the classifier's parameters."""
    trunks, head = getattr(network, "trunks", ("",)), str(getattr(network, "head", "fc"))
    return tuple(f"{trunk}{head}." for trunk in (*trunks, ""))
