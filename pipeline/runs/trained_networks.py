"""Look-up of trained networks in a registered model, the folder of a checkpoint, or a run."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config, ConfigError, load, stored, to_dict
from pipeline.evaluation.scores import FUSED
from pipeline.models.weights import read_weights
from pipeline.registry.model_folder import StoredClassifier
from pipeline.registry.model_versions import fetch
from pipeline.runs.run_name import in_storage, read_run
from pipeline.sqlite import file_of
from pipeline.training.checkpoints import WEIGHTS, best_checkpoint

STREAMS = ("rgb", "flow", FUSED)


@dataclass(frozen=True)
class Source:
    """Trained networks.

    Attributes:
        name: short name, for the name of a run.
        origin: URI or folder from which they come.
        config: config with which they were trained.
        weights: state dict file of each stream.
        labels: class names in the order of the logits; None if they are not stored beside the weights.
    """

    name: str
    origin: str
    config: Config
    weights: dict[str, Path]
    labels: tuple[str, ...] | None = None


def registered(tracking_uri: str, model_uri: str, folder: Path, stream: str = "") -> Source:
    """Download a registered model, or one stream of it.

    Args:
        tracking_uri: tracking URI of the registry.
        model_uri: URI of the model, such as `models:/video-i3d-two-stream@candidate`.
        folder: folder to download to.
        stream: the only stream to take; empty for all.
    """
    model = fetch(tracking_uri, model_uri, folder)
    name = model_uri.removeprefix("models:/")
    config = _beside(stored(Config, model.config, f"model.json of {model_uri}", model.version), tracking_uri)
    return Source(name, model_uri, config, _only(model.weights, stream, model_uri), model.labels)


def classifier_of(source: Source) -> StoredClassifier:
    """Return trained networks as the parts of a video classifier.

    Raises:
        ConfigError: the class names are stored neither beside the weights nor in them.
    """
    labels = source.labels or read_weights(next(iter(source.weights.values()))).provenance.labels
    if not labels:
        raise ConfigError(f"{source.origin}: its weights do not name their classes; take a model, run or checkpoint")
    return StoredClassifier(labels, to_dict(source.config), source.weights)


def _beside(config: Config, tracking_uri: str) -> Config:
    """Return a model's config with the paths that its storage has now, in case it was moved with its registry."""
    before, now = file_of(config.tracking.uri), file_of(tracking_uri)
    in_it = before is not None and str(Path(before).parent) == config.storage
    return in_storage(config, str(Path(now).parent)) if in_it and now and before != now else config


def checkpointed(folder: Path, stream: str = "") -> Source:
    """Find the network of a checkpoint.

    Args:
        folder: folder with `model.pt` and `config.yaml`; or that of a run's network, whose best checkpoint is taken.
        stream: stream of the checkpoint; empty if the config has only one, or if the folder is in that of its stream.

    Raises:
        ConfigError: there is no checkpoint, or its stream is not known.
    """
    if not (folder / WEIGHTS).is_file() and (best := best_checkpoint(folder)):
        folder = best
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"--checkpoint {folder}: no {WEIGHTS} there; a run's lie in runs/NAME/STREAM/checkpoint_*")
    config, above = load(Config, folder / "config.yaml"), folder.resolve().parents
    if len(above) > 3 and above[2].name == "runs":  # STORAGE/runs/NAME/STREAM/checkpoint_...
        config = in_storage(config, str(above[3]))
    place = above[0].name
    known = [place] if place in STREAMS else list(config.model.streams)
    if not stream and len(known) != 1:
        raise ConfigError(f"--checkpoint {folder}: trained with {', '.join(known)}; name its own by --stream")
    stream = stream or known[0]
    return Source(f"{config.name or folder.name}-{stream}", str(folder), config, {stream: folder / WEIGHTS})


def trained_run(storage: str, name: str, stream: str = "") -> Source:
    """Find the best checkpoints, by validation loss, of a run of `jobs/pretrain_kinetics.py`.

    Raises:
        ConfigError: there is no such run, or it has no checkpoint.
    """
    folder = Path(storage) / "runs" / name
    if Path(name).name != name:
        raise ConfigError(f"--run {name}: no such run in {storage}/runs")
    config = read_run(storage, name, "--run")
    found = {each: best_checkpoint(folder / each) for each in STREAMS}
    weights = {each: checkpoint / WEIGHTS for each, checkpoint in found.items() if checkpoint}
    if not weights:
        raise ConfigError(f"--run {name}: no checkpoint in {folder} yet")
    return Source(name, str(folder), config, _only(weights, stream, f"--run {name}"))


def _only(weights: dict[str, Path], stream: str, origin: str) -> dict[str, Path]:
    if stream and stream not in weights:
        raise ConfigError(f"--stream {stream}: {origin} has {', '.join(weights)}")
    return {stream: weights[stream]} if stream else weights
