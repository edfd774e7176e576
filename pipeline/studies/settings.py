"""What a study runs on: its options, its four data sets, and the trainings that claims are made of.

All networks are the papers' at full width; windows are 8 frames, every second one, of 20 x 20 pixels, so that a
training takes minutes of one core, and three such windows are the test: whole clips, of which a network trained on one
time step makes two, gave 51 % of flow where single windows of the validation gave 84. Clips and batch norm are those
of `recipes.demo`, for its reasons; AdamW learns more from so few steps than SGD.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from pipeline.command_line import override
from pipeline.config import Config, ConfigError, ModelConfig, MotionShapesConfig, Stream
from pipeline.config import absolute as absolute_path
from pipeline.recipes.demo import demo

_checked = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True, config=_checked)
class StudyConfig:
    """The options of a study."""

    storage: str = "outputs/study"
    """Folder of clips, shards, trainings, MLflow and the report; what is done there is not done again."""
    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2)
    """Seeds: each training is run once with each."""
    claims: tuple[str, ...] = ()
    """Claims to try; empty for all."""
    concurrent: PositiveInt = 2
    """Trainings at a time, one core each."""
    scale: Literal["full", "tiny"] = "full"
    """tiny: a few clips for an epoch, to see that everything runs; nothing is learned from so little."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds: {','.join(map(str, self.seeds)) or 'empty'}; give different ones, at least one")

    def resolved(self) -> Self:
        """With an absolute path."""
        return replace(self, storage=absolute_path(self.storage, Path.cwd()))


DATA: Mapping[str, tuple[MotionShapesConfig, int, tuple[Stream, ...]]] = {  # clips a class, seed, streams
    "motions": (MotionShapesConfig(train=48, val=10, test=20, frames=24), 0, ("rgb", "flow")),
    "other_motions": (
        MotionShapesConfig(classes="other_motions", train=2, val=10, test=20, frames=24),
        1,
        ("rgb", "flow"),
    ),
    "patterns": (MotionShapesConfig(classes="patterns", train=64, val=16, test=32, frames=12), 2, ("rgb",)),
    "few_patterns": (MotionShapesConfig(classes="patterns", train=8, val=16, test=32, frames=12), 3, ("rgb",)),
}
DESCRIBED = {
    "motions": "8 motions, of which a single frame says nothing",
    "other_motions": "8 other motions (diagonals, spirals) with few labels",
    "patterns": "5 patterns of moving shapes: what the 2D networks learn from single frames, and without labels what "
    "supervision transfer learns from",
    "few_patterns": "the same 5 patterns on other clips, with few labels",
}
_TINY = {
    "catalog.motion_shapes.train": "2", "catalog.motion_shapes.val": "1", "catalog.motion_shapes.test": "1",
    "catalog.motion_shapes.frames": "6", "catalog.motion_shapes.size": "32", "ingest.short_side": "32",
    "ingest.flow.nscales": "1", "ingest.flow.warps": "1",
}  # fmt: skip
_TINY_TRAINING = {"training.epochs": "1", "training.batch_size": "4"}


def data_config(study: StudyConfig, name: str) -> Config:
    """How a data set is rendered and ingested."""
    shapes, seed, streams = DATA[name]
    base, folder = demo(), f"tiny_{name}" if study.scale == "tiny" else name
    config = replace(
        base,
        storage=study.storage,
        seed=seed,
        catalog=replace(base.catalog, motion_shapes=shapes, videos=f"{study.storage}/videos/{folder}"),
        ingest=replace(base.ingest, shards=f"{study.storage}/shards/{folder}", streams=streams),
        model=replace(base.model, streams=streams),
    )
    return (override(config, _TINY) if study.scale == "tiny" else config).resolved()


def training_config(study: StudyConfig, data: str, model: ModelConfig, **changes: str) -> Config:
    """A training on a data set: one worker, AdamW and a cosine, tested on three windows of each clip.

    Args:
        study: its options.
        data: name of the set.
        model: the network; its streams are what is trained.
        **changes: fields of the config by their dotted names, with __ for the dot.
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
    return override(replace(base, model=replace(model, options=options, dropout=base.model.dropout)), fields)
