"""The cells of a paper's table: the published figure, and the trainings that measure it.

On given shard sets the trainings are the paper's own recipes, which are found by name: what a network is trained on
alone, what it is pretrained on, and the fine-tuning. Sets with the same classes are the splits of one data set, over
which the mean is taken, and so is a set that has all of its splits or folds. On rendered clips the same recipes give
network, streams and start, and the trainings are small (`pipeline/experiments/settings.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from pipeline.command_line import override
from pipeline.config import Config, ConfigError, ModelConfig, Stream
from pipeline.experiments.claims import Trainings
from pipeline.experiments.settings import DATA, StudyConfig, training_config
from pipeline.experiments.space import described, trial_config
from pipeline.experiments.trial import INFLATE, Kind, Outcome, Training
from pipeline.ingest.stored import with_stored
from pipeline.models.registry import MODELS
from pipeline.networks import network_inputs
from pipeline.recipes import FINE_TUNE, PRETRAIN, TRANSFER
from pipeline.runs.splits_in_turn import on_split
from pipeline.shards import read_manifest
from pipeline.shards.splits import clips_in, numbers_of

Measure = Literal["test", "mean of top-1 and top-5", "training", "validation"]
Start = Literal["labels", "transfer", "transfer, then half"]
RECIPES = {**PRETRAIN, **FINE_TUNE, **TRANSFER}
RENDERED_EPOCHS, TRANSFER_EPOCHS = 9, 64
TARGETS = ("ucf101", "hmdb51")  # the data sets that the papers fine-tune on; others take the recipes of the first
SMALL_CROP = 112  # pixels; networks with this crop have few frames, and take all of them on rendered clips too


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        trainings: by data set, the trainings over which, and over the seeds, the mean is taken: one for each split;
            none if the set lacks a stream that the network takes.
        network: rgb, flow or two_stream.
        paper: the published figures, in the order of the table's data sets; empty if none is verified.
        measure: what is measured.
    """

    trainings: Mapping[str, tuple[Training, ...]]
    network: str
    paper: str = ""
    measure: Measure = "test"

    @property
    def every(self) -> list[Training]:
        """The trainings on all data sets."""
        return [one for own in self.trainings.values() for one in own]

    def value(self, outcome: Outcome) -> float | None:
        """Return what an outcome says for this cell, as a share; None if it was not measured."""
        if self.measure in ("training", "validation"):
            return outcome.history[self.network][-1]["train/top1" if self.measure == "training" else "val/top1"]
        if self.measure == "test":
            return outcome.top1.get(self.network)
        both = outcome.top1.get(self.network), outcome.top5.get(self.network)
        return None if None in both else sum(both) / 2  # type: ignore[arg-type]


@dataclass(frozen=True)
class Place:
    """Where a training has its clips.

    Attributes:
        data: path of a shard set, or name of a rendered one.
        dataset: the data set, such as ucf101.
        streams: the streams that are stored.
        number: the split or fold, of a set that has all of them; None if its clips are divided once.
        option: the option that names the set, for messages; empty for a rendered one.
    """

    data: str
    dataset: str
    streams: tuple[Stream, ...]
    number: int | None = None
    option: str = ""


@dataclass(frozen=True)
class Cells:
    """Makes the cells of a table, on rendered clips or on the shard sets that are given.

    Attributes:
        study: the options.
        rendered: the rendered sets that stand for the paper's.
        rendered_source: the rendered set that stands for the one to pretrain on.
        large: whether rendered windows have 16 frames of 32 x 32 pixels, as DenseNets need; otherwise 8 of 20 x 20.
    """

    study: StudyConfig
    rendered: tuple[str, ...]
    rendered_source: str = "long_motions"
    large: bool = False

    def alone(
        self,
        network: str,
        paper: str = "",
        stream: str = "rgb",
        measure: Measure = "test",
        clips: Mapping[str, str] | None = None,
    ) -> Cell:
        """Return the cell of a network that is trained on the target alone, from scratch or from inflated weights.

        Args:
            network: a recipe of `PRETRAIN` without `_kinetics`.
            paper: the published figures.
            stream: rgb, flow or two_stream.
            measure: what is measured.
            clips: fields of `clips` that differ from the recipe; the fields that follow from them do so too.
        """
        made = {}
        for name, places in self.sets.items():
            own = (self._training(_alone(network, place.dataset), place, stream, clips) for place in places)
            made[name] = tuple(one for one in own if one)
        return Cell(made, stream, paper, measure)

    def tuned(
        self,
        network: str,
        mode: str = "",
        paper: str = "",
        stream: str = "rgb",
        start: Start = "labels",
        pretrained: str = "",
    ) -> Cell:
        """Return the cell of a network that is fine-tuned from what the source set has taught it.

        Args:
            network: a recipe of `FINE_TUNE` without data set and mode.
            mode: the last part of the recipe's name: original, which does not start from the source, fixed or full;
                empty for recipes without.
            paper: the published figures.
            stream: rgb, flow or two_stream.
            start: labels, a training on the source; transfer, a supervision transfer on it, without labels; or both, of
                which the second is on half of the source.
            pretrained: the network of the source, if it has another name.
        """
        made = {}
        for name, places in self.sets.items():
            own = (self._tuned(network, mode, place, stream, start, pretrained or network) for place in places)
            made[name] = tuple(one for one in own if one)
        return Cell(made, stream, paper)

    @cached_property
    def sets(self) -> dict[str, tuple[Place, ...]]:
        """The data sets, each with its splits."""
        if not self.study.shards:
            return {name: (_rendered(name),) for name in self.rendered}
        same: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for path in self.study.shards:
            manifest = read_manifest(path)
            same.setdefault((manifest["dataset"], tuple(manifest["labels"])), []).append(path)
        names = [dataset for dataset, _ in same]
        return {
            dataset if names.count(dataset) == 1 else f"{dataset} {paths[0].rpartition('/')[2]}": tuple(
                place for path in paths for place in _places("--shards", path)
            )
            for (dataset, _), paths in same.items()
        }

    @cached_property
    def source(self) -> Place:
        """The set to pretrain on.

        Raises:
            ConfigError: none is given.
        """
        if not self.study.shards:
            return _rendered(self.rendered_source)
        if not self.study.source:
            raise ConfigError("--source: this table fine-tunes; --source DIR names the shard set to pretrain on")
        place, *others = _places("--source", self.study.source)
        if others:
            raise ConfigError(f"--source {self.study.source}: it has several splits or folds; give a set of one")
        return place

    def _tuned(
        self, network: str, mode: str, place: Place, stream: str, start: Start, pretrained: str
    ) -> Training | None:
        dataset = place.dataset if place.dataset in TARGETS else TARGETS[0]
        recipe = "_".join(filter(None, (network, dataset, mode)))
        if mode == "original":
            return self._training(recipe, place, stream)
        both = tuple(one for one in place.streams if one in self.source.streams)
        place, source = replace(place, streams=both), replace(self.source, streams=both)
        begin = self._training(f"{pretrained}_{'kinetics' if start == 'labels' else 'youtube8m'}", source, stream)
        if begin and start == "transfer, then half":
            begin = self._training(f"{pretrained}_half_kinetics", source, stream, begin=begin)
        return self._training(recipe, place, stream, begin=begin) if begin else None

    def _training(
        self,
        name: str,
        place: Place,
        stream: str,
        clips: Mapping[str, str] | None = None,
        begin: Training | None = None,
    ) -> Training | None:
        """Return the training of a recipe; None if the set lacks a stream that it takes."""
        recipe = RECIPES[name]()
        streams = _streams(recipe.model, stream, place.streams)
        if not streams:
            return None
        kind: Kind = "transfer" if name in TRANSFER else "train"
        starts = dict.fromkeys(network_inputs(replace(recipe.model, streams=streams)), begin) if begin else {}
        try:
            if self.study.shards:
                config = _given(self.study, recipe, place, streams)
            else:
                config = _small(self.study, recipe, place.data, streams, kind, self.large)
                if recipe.model.inflate:
                    starts[INFLATE] = Trainings(self.study).image_network(recipe.model.inflate, recipe.model.levels)
            fields = (clips or {}).items()
            changed = {f"clips.{name}": value for name, value in fields if value != str(getattr(config.clips, name))}
            config = trial_config(config, changed) if changed else config
        except ConfigError as error:
            where = said(place.option, place.data, name)
            raise ConfigError(f"{where}: {error}; a table takes recipes as they are: give a set that fits") from None
        parts = [name, *(streams if streams != recipe.model.streams else ()), described(changed, over=())]
        parts += ["on", self._label(place)] + ([f"from {begin.name}"] if begin else [])
        return Training(" ".join(filter(None, parts)), place.data, config, kind, starts, axes=changed)

    def _label(self, place: Place) -> str:
        """Return the last part of a set's path, or the whole path if two sets have the same."""
        last = [one.rpartition("/")[2] for one in {*self.study.shards, self.study.source}]
        own = place.data.rpartition("/")[2]
        label = place.data if last.count(own) > 1 else own
        return label if place.number is None else f"{label} {place.number}"


def said(option: str, data: str, name: str) -> str:
    """Name a training in a message: by the option that gave its set, if there is one, and by its recipe."""
    return f"{option} {data}: {name}" if option else name


def _rendered(name: str) -> Place:
    return Place(name, "motion_shapes", DATA[name][2])


def _places(option: str, path: str) -> list[Place]:
    """Return the splits of a shard set.

    Raises:
        ConfigError: it cannot be trained and tested on.
    """
    manifest = read_manifest(path)
    splits = clips_in(manifest)
    streams = tuple(manifest["plan"].get("settings", {}).get("streams", ("rgb", "flow")))
    numbers: list[int | None] = [*numbers_of(splits)] or [None]
    for number in numbers:
        at = "" if number is None else number
        if f"train{at}" not in splits or not {f"val{at}", f"test{at}"} & splits.keys():
            there = ", ".join(sorted(splits)) or "none"
            raise ConfigError(f"{option} {path}: a table needs splits train and test, or train and val; it has {there}")
    return [Place(path, manifest["dataset"], streams, number, option) for number in numbers]


def _alone(network: str, dataset: str) -> str:
    """Return the name of the recipe that trains a network on a data set alone."""
    names = [f"{network}_{dataset}_original", f"{network}_{dataset}_scratch"] if dataset in TARGETS else []
    names += [f"{network}_{dataset}"] if dataset == "activitynet" else []
    return next((name for name in names if name in RECIPES), f"{network}_kinetics")


def _streams(model: ModelConfig, stream: str, there: tuple[Stream, ...]) -> tuple[Stream, ...]:
    """Return the streams to train: those of the recipe, or that of the cell alone if the other is not there."""
    if set(model.streams) <= set(there):
        return model.streams
    return tuple(one for one in there if one == stream and stream in network_inputs(model))


def _small(
    study: StudyConfig, recipe: Config, data: str, streams: tuple[Stream, ...], kind: Kind, large: bool
) -> Config:
    """Return the config of a small training of a recipe's network on rendered clips."""
    model, clips, test = recipe.model, recipe.clips, recipe.evaluation
    snapshots = MODELS[model.name].protocol == "two_stream"  # these networks take a certain number of frames
    large = large or clips.crop == SMALL_CROP
    frames = clips.frames if snapshots or clips.crop == SMALL_CROP else 16 if large else 8
    fields: dict[str, object] = {
        "training__epochs": RENDERED_EPOCHS,
        "training__train_fraction": recipe.training.train_fraction,
        "clips__frames": frames,
        "clips__stride": clips.stride if snapshots else 1 if large else 2,
        "clips__rgb_every": clips.rgb_every,
        "clips__segments": clips.segments,
        "evaluation__val_frames": frames,
        "optimiser__lr": 1e-2 if model.fine_tune == "fixed" else 1e-3,
    }
    fields |= {"clips__short_side": 36, "clips__crop": 32} if large else {}
    fields |= {"evaluation__protocol": "auto"} if snapshots else {}
    fields |= {"evaluation__protocol": test.protocol} if test.protocol == "tsn" else {}
    fields |= {"training__epochs": TRANSFER_EPOCHS, "training__batch_size": 16} if kind == "transfer" else {}
    options = {**model.options, **({"size": 32} if model.name == "c3d" else {})}
    small = ModelConfig(
        name=model.name, streams=streams, levels=model.levels, fine_tune=model.fine_tune, options=options
    )
    return training_config(study, data, small, **{name: str(value) for name, value in fields.items()})


def _given(study: StudyConfig, recipe: Config, place: Place, streams: tuple[Stream, ...]) -> Config:
    """Return the config of a recipe on a shard set that is there.

    Without validation clips, as in the published splits of UCF-101 and HMDB-51, validation is on the test split, and
    the last checkpoint is tested. A recipe that counts its steps makes them on a set of any size.
    """
    clips, at = clips_in(read_manifest(place.data)), "" if place.number is None else str(place.number)
    validated = f"val{at}" in clips
    training = replace(
        recipe.training,
        val_split="val" if validated else "test",
        keep=recipe.training.keep if validated else "last",
    )
    if training.steps is not None:
        of_an_epoch = max(1, clips[f"train{at}"] // recipe.clips_of_a_step)
        training = replace(training, epochs=-(-training.steps // of_an_epoch))
    if study.epochs is not None:
        training = replace(training, epochs=study.epochs)
    test = "test" if f"test{at}" in clips else "val"
    config = replace(
        recipe,
        storage=study.storage,
        model=replace(recipe.model, streams=streams),
        training=training,
        evaluation=replace(recipe.evaluation, split=test),
        tracking=replace(recipe.tracking, uri=study.tracking, experiment="study", registered_model=""),
    )
    config = with_stored(override(config, {"ingest.shards": place.data}).resolved(), ["ingest.shards"])
    return config if place.number is None else on_split(config, place.number)
