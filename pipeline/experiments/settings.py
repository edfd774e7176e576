"""The settings of a study: its options, its data sets, and the base config of its trainings.

All networks have the papers' full width. Windows are 8 frames, every second one, of 20 x 20 pixels, so that a training
takes minutes on one core. The test scores three such windows per clip, not whole clips: a whole clip makes two time
steps in a network that was trained on one, and the flow network then got 51 % of the test where single windows got
84 % of the validation. Clips and batch norm are those of `recipes.demo`, for the reasons given there. AdamW learns more
than SGD in so few steps.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from pipeline.command_line import override
from pipeline.config import Config, ConfigError, ModelConfig, MotionShapesConfig, Stream, TrackingConfig
from pipeline.config import absolute as absolute_path
from pipeline.recipes.demo import demo

_checked = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True, config=_checked)
class StudyConfig:
    """The options of a named experiment of the papers."""

    experiment: str = "claims"
    """The experiment: claims, which tests claims of the papers, or a table of a paper, such as quo_vadis_table2."""
    shards: tuple[str, ...] = ()
    """Tables: shard sets to train and test on with the paper's recipes. Those with the same classes are the splits of a
    data set, over which the mean is taken; others stand side by side. Empty for small trainings on rendered clips."""
    source: str = ""
    """Tables that fine-tune: the shard set to pretrain on, if shards are given."""
    rows: tuple[str, ...] = ()
    """Tables: rows to train; empty for all. The report has the others as far as they have been trained before."""
    epochs: PositiveInt | None = None
    """Epochs of each training; none for those of the recipes."""
    storage: str = "outputs/study"
    """Folder of clips, shards, trainings, MLflow and the reports; trainings that are done there are not run again."""
    tracking: str = ""
    """MLflow tracking URI; empty for a SQLite file in the storage."""
    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2)
    """Seeds; each training is run once with each seed."""
    claims: tuple[str, ...] = ()
    """Claims to test; empty for all."""
    concurrent: PositiveInt = 2
    """Number of trainings at a time, one core each."""
    scale: Literal["full", "tiny"] = "full"
    """Size of the data and trainings; tiny: a few clips for one epoch, to check that everything runs. So little data
    teaches the networks nothing."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds: {','.join(map(str, self.seeds)) or 'empty'}; give different ones, at least one")
        if len(set(self.shards)) != len(self.shards):
            raise ConfigError(f"shards: {','.join(self.shards)}; give each set once")
        if self.shards and self.scale == "tiny":
            raise ConfigError("scale: tiny is for rendered clips; on shards, --epochs 1 makes short trainings")
        if self.source and not self.shards:
            raise ConfigError("source: it goes with shards; without them, tables pretrain on rendered clips")

    def resolved(self) -> Self:
        """Return the options with absolute paths.

        Raises:
            ConfigError: `storage` is a URI and `tracking` is empty.
        """
        here, storage = Path.cwd(), absolute_path(self.storage, Path.cwd())
        if "://" in storage and not self.tracking:
            raise ConfigError(f"tracking: empty, and SQLite cannot lie in {storage}; give the URI of a server")
        uri = Config(storage="/", tracking=TrackingConfig(uri=self.tracking)).resolved(here).tracking.uri
        return replace(
            self,
            storage=storage,
            tracking=uri if self.tracking else "",
            shards=tuple(absolute_path(path, here) for path in self.shards),
            source=absolute_path(self.source, here),
        )


Rendered = tuple[MotionShapesConfig, int, tuple[Stream, ...]]  # clips per class and split, seed, streams
_SHORT: Mapping[str, Rendered] = {
    "motions": (MotionShapesConfig(train=48, val=10, test=20, frames=24), 0, ("rgb", "flow")),
    "other_motions": (
        MotionShapesConfig(classes="other_motions", train=2, val=10, test=20, frames=24),
        1,
        ("rgb", "flow"),
    ),
    "patterns": (MotionShapesConfig(classes="patterns", train=64, val=16, test=32, frames=12), 2, ("rgb",)),
    "few_patterns": (MotionShapesConfig(classes="patterns", train=8, val=16, test=32, frames=12), 3, ("rgb",)),
}
LONG = 68  # frames; a window of 64, or of 16 with every fourth frame, does not have to be looped
_LONG = {f"long_{name}": (replace(shapes, frames=LONG), seed + 4, has) for name, (shapes, seed, has) in _SHORT.items()}
DATA: Mapping[str, Rendered] = {**_SHORT, **_LONG}  # the claims have the short sets, the tables the long ones
_DESCRIBED = {
    "motions": "8 motions, of which a single frame says nothing",
    "other_motions": "8 other motions (diagonals, spirals) with few labels",
    "patterns": "5 patterns of moving shapes: what the 2D networks learn from single frames, and without labels what "
    "supervision transfer learns from",
    "few_patterns": "the same 5 patterns on other clips, with few labels",
}
DESCRIBED = {**_DESCRIBED, **{f"long_{name}": f"{text}; {LONG} frames" for name, text in _DESCRIBED.items()}}
_TINY = {
    "catalog.motion_shapes.train": "2", "catalog.motion_shapes.val": "1", "catalog.motion_shapes.test": "1",
    "ingest.flow.nscales": "1", "ingest.flow.warps": "1",
}  # fmt: skip
_TINY_CLIPS = {
    "catalog.motion_shapes.frames": "6", "catalog.motion_shapes.size": "36", "ingest.short_side": "36",
}  # fmt: skip
_TINY_TRAINING = {"training.epochs": "1", "training.batch_size": "4"}


def data_config(study: StudyConfig, name: str) -> Config:
    """Return the config with which a data set is rendered and ingested."""
    shapes, seed, streams = DATA[name]
    base, folder = demo(), f"tiny_{name}" if study.scale == "tiny" else name
    config = replace(
        base,
        storage=study.storage,
        seed=seed,
        catalog=replace(base.catalog, motion_shapes=shapes, videos=f"{study.storage}/videos/{folder}"),
        ingest=replace(base.ingest, shards=f"{study.storage}/shards/{folder}", streams=streams),
        model=replace(base.model, streams=streams),
        tracking=replace(base.tracking, uri=study.tracking),
    )
    tiny = {**_TINY, **(_TINY_CLIPS if name in _SHORT else {})}
    return (override(config, tiny) if study.scale == "tiny" else config).resolved()


def training_config(study: StudyConfig, data: str, model: ModelConfig, **changes: str) -> Config:
    """Return the config of a training: one worker, AdamW, a cosine schedule, and a test on three windows per clip.

    Args:
        study: the options of the study.
        data: name of the data set.
        model: the network and the streams to train.
        **changes: fields of the config to set, by their dotted names with __ in place of each dot.
    """
    base = data_config(study, data)
    fields = {
        "clips.frames": "8", "clips.stride": "2", "clips.short_side": "24", "clips.crop": "20",
        "schedule.name": "cosine", "schedule.stop_lr": "0",
        "optimiser.name": "adamw", "optimiser.lr": "1e-3", "optimiser.weight_decay": "1e-4",
        "evaluation.protocol": "views", "evaluation.views": "3", "evaluation.crops": "1",
        "evaluation.val_frames": "8", "evaluation.batch_size": "16", "training.batch_size": "8",
        "resources.workers": "1", "resources.worker_cpus": "0.5", "resources.loader_cpus": "0.25",
        "tracking.experiment": "study", "tracking.registered_model": "",
        **{name.replace("__", "."): value for name, value in changes.items()},
        **(_TINY_TRAINING if study.scale == "tiny" else {}),
    }  # fmt: skip
    options = {**base.model.options, **model.options} if model.name == "i3d" else model.options
    config = override(replace(base, model=replace(model, options=options, dropout=base.model.dropout)), fields)
    return config if study.epochs is None else override(config, {"training.epochs": str(study.epochs)})
