"""The tables of the three papers, each as rows and columns of trainings with the published figure where it is verified.

On rendered clips the networks have the papers' full width, and small windows. On given shard sets the trainings are the
papers' recipes. A figure of a paper stands for the paper's data set, never for that of the measurement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.command_line import override
from pipeline.config import Config, ConfigError, ModelConfig, nearest
from pipeline.experiments.claims import Trainings
from pipeline.experiments.settings import StudyConfig, training_config
from pipeline.experiments.trial import INFLATE, Outcome, Training
from pipeline.ingest.stored import with_stored
from pipeline.networks import network_inputs
from pipeline.recipes import PRETRAIN, TRANSFER
from pipeline.shards import read_manifest

Measure = Literal["test", "mean of top-1 and top-5", "training", "validation"]
RENDERED_EPOCHS = 9
LARGE = ("c3d",)  # needs 16 frames of 32 x 32 pixels, like the DenseNets


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        trainings: the trainings over which, and over the seeds, the mean is taken: one for each split.
        network: rgb, flow or two_stream.
        paper: the published figures, in the order of the table's data sets; empty if none is verified.
        measure: what is measured.
    """

    trainings: tuple[Training, ...]
    network: str
    paper: str = ""
    measure: Measure = "test"

    def value(self, outcome: Outcome) -> float | None:
        """Return what an outcome says for this cell, as a share; None if it was not measured."""
        if self.measure in ("training", "validation"):
            return outcome.history[self.network][-1]["train/top1" if self.measure == "training" else "val/top1"]
        if self.measure == "test":
            return outcome.top1.get(self.network)
        both = outcome.top1.get(self.network), outcome.top5.get(self.network)
        return None if None in both else sum(both) / 2  # type: ignore[arg-type]


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Attributes:
        says: what it compares.
        source: the paper and the table.
        data: the paper's data sets, in the order of the figures in a cell.
        note: what a reader must know about the way it is measured here.
        rows: the cells of each row, by column.
    """

    says: str
    source: str
    data: str
    note: str
    rows: Mapping[str, Mapping[str, Cell]]

    @property
    def columns(self) -> list[str]:
        """The columns, in the order in which they first occur."""
        return list(dict.fromkeys(column for cells in self.rows.values() for column in cells))

    @property
    def trainings(self) -> list[Training]:
        """The trainings of all cells, each once."""
        found = [one for cells in self.rows.values() for cell in cells.values() for one in cell.trainings]
        return list({one.name: one for one in found}.values())


@dataclass(frozen=True)
class Networks:
    """Makes the trainings of a table, on rendered clips or on the shard sets that are given.

    Attributes:
        study: the options.
        rendered: the rendered set that stands for the paper's.
        source: the rendered set that stands for the one to pretrain on.
        large: whether rendered windows have 16 frames of 32 x 32 pixels, as DenseNets need; otherwise 8 of 20 x 20.
    """

    study: StudyConfig
    rendered: str
    source: str = "motions"
    large: bool = False

    def on(self, recipe: str, *streams: str, **changes: str) -> tuple[Training, ...]:
        """Return the training of a recipe on each set.

        Args:
            recipe: a recipe of `PRETRAIN`.
            *streams: streams to train; none for those of the recipe.
            **changes: fields of the config, with __ for each dot.
        """
        return tuple(self._training(recipe, streams, data, changes) for data in self._sets)

    def from_images(self, recipe: str, *streams: str) -> tuple[Training, ...]:
        """Return the training of a recipe that begins with inflated 2D weights."""
        starts, changes = dict[str, Training](), {"model__inflate": "googlenet"}
        if not self.study.shards:
            starts = {INFLATE: Trainings(self.study).image_network("googlenet", "signed")}
            changes = {"model__options": '{"stem_padding": "symmetric"}'}
        plain = self.on(recipe, *streams, **changes)
        return tuple(replace(one, name=f"{one.name}-imagenet", starts=starts) for one in plain)

    def tuned(self, recipe: str, mode: str, *streams: str, taught: bool = False) -> tuple[Training, ...]:
        """Return the fine-tuning on each set of a network that the source set has trained.

        Args:
            recipe: the recipe of the pretraining.
            mode: a value of `model.fine_tune`.
            *streams: streams to train; none for those of the recipe.
            taught: whether the network learns from a 2D one on the source, without labels.
        """
        if mode == "original":
            return tuple(replace(one, name=f"{one.name}-original") for one in self.on(recipe, *streams))
        source = self.study.source if self.study.shards else self.source
        if not source:
            raise ConfigError("source: this table fine-tunes; --source DIR names the shard set to pretrain on")
        begin = self._taught(recipe, source) if taught else self._training(recipe, streams, source, {})
        rate = {"optimiser__lr": "1e-2" if mode == "fixed" else "1e-3"}
        if mode == "last_block" and self.study.shards:  # of the 3D ResNets
            rate["optimiser__weight_decay"] = "1e-5"
        found = []
        for one in self.on(recipe, *streams, **rate):
            model = replace(one.config.model, fine_tune=mode, inflate="")  # type: ignore[arg-type]
            starts = dict.fromkeys(network_inputs(one.config.model), begin)
            name = f"{one.name}-{'taught' if taught else mode}"
            found.append(replace(one, name=name, config=replace(one.config, model=model), starts=starts))
        return tuple(found)

    @property
    def _sets(self) -> tuple[str, ...]:
        return self.study.shards or (self.rendered,)

    def _taught(self, recipe: str, source: str) -> Training:
        name = f"{recipe.removesuffix('_kinetics')}-taught"
        if self.study.shards:
            transfer = f"{recipe.removesuffix('_kinetics')}_youtube8m"
            return Training(name, source, _given(self.study, TRANSFER[transfer](), source, (), {}), kind="transfer")
        one = self._training(recipe, (), source, {"training__batch_size": "16", "training__epochs": "64"})
        start = Trainings(self.study).image_network("densenet121", "imagenet")
        return replace(one, name=name, kind="transfer", starts={INFLATE: start})

    def _training(self, recipe: str, streams: Sequence[str], data: str, changes: Mapping[str, str]) -> Training:
        config = PRETRAIN[recipe]()
        place = f"-{self._sets.index(data)}" if data in self._sets and len(self._sets) > 1 else ""
        target = "" if data in self._sets else "-source"
        varied = "".join(f"-{key.rpartition('__')[2]}{value}" for key, value in changes.items() if key in VARIED)
        name = "-".join((recipe.removesuffix("_kinetics"), *streams)) + varied + target + place
        if self.study.shards:
            return Training(name, data, _given(self.study, config, data, streams, changes))
        return Training(name, data, _small(self.study, config, data, streams, changes, self.large))


VARIED = ("clips__frames", "clips__crop", "clips__stride")


def _small(
    study: StudyConfig, recipe: Config, data: str, streams: Sequence[str], changes: Mapping[str, str], large: bool
) -> Config:
    """Return the config of a small training of a recipe's network on rendered clips."""
    model = recipe.model
    options = {**model.options, **({"size": 32} if model.name == "c3d" else {})}
    chosen = ModelConfig(name=model.name, streams=model.streams, levels=model.levels, options=options)
    if streams:
        chosen = override(replace(recipe, model=chosen), {"model.streams": ",".join(streams)}).model
    own = recipe.clips.rgb_every > 1 or model.name == "single_stream"  # these take a certain number of frames
    large = large or model.name in LARGE
    frames = recipe.clips.frames if own else 16 if large else 8
    size = {"clips__short_side": "36", "clips__crop": "32"} if large else {}
    fields: dict[str, Any] = {
        "training__epochs": str(RENDERED_EPOCHS),
        "clips__frames": str(frames),
        "clips__stride": "1" if own or large else "2",
        "clips__rgb_every": str(recipe.clips.rgb_every),
        **size,
        **{name: value for name, value in changes.items() if name not in ("model__inflate", "model__options")},
    }
    if "model__options" in changes:
        chosen = override(replace(recipe, model=chosen), {"model.options": changes["model__options"]}).model
    fields["evaluation__val_frames"] = fields["clips__frames"]
    return training_config(study, data, chosen, **fields)


def _given(
    study: StudyConfig, recipe: Config, shards: str, streams: Sequence[str], changes: Mapping[str, str]
) -> Config:
    """Return the config of a recipe on a shard set that is there.

    Raises:
        ConfigError: the set does not have a stream, or does not fit the recipe.
    """
    splits = read_manifest(shards)["splits"]
    if "train" not in splits:
        raise ConfigError(
            f"shards: {shards} has no split train, as a set of all folds; give a set of one fold or split"
        )
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    fields |= {"storage": study.storage, "ingest.shards": shards, "tracking.experiment": "study"}
    fields |= {"tracking.uri": study.tracking} if study.tracking else {}
    fields |= {"tracking.registered_model": "", "evaluation.split": "test" if "test" in splits else "val"}
    if "val" not in splits:  # the published splits of UCF-101 and HMDB-51 have none
        fields |= {"training.val_split": "test", "training.keep": "last"}
    if streams:
        fields["model.streams"] = ",".join(streams)
    if study.epochs is not None:
        fields["training.epochs"] = str(study.epochs)
    return with_stored(override(recipe, fields).resolved(), ["ingest.shards"])


STREAMS = {"RGB": "rgb", "Flow": "flow", "RGB + Flow": "two_stream"}


def _streams(network: str) -> tuple[str, ...]:
    return ("rgb", "flow") if network == "two_stream" else (network,)


def _cells(trainings: Mapping[str, tuple[Training, ...]], paper: Mapping[str, str]) -> dict[str, Cell]:
    return {column: Cell(own, STREAMS[column], paper.get(column, "")) for column, own in trainings.items()}


def quo_vadis_table2(study: StudyConfig) -> PaperTable:
    """Return Quo Vadis, Table 2: five architectures, each stream and both."""
    nets = Networks(study, "motions")
    both, i3d = nets.on("two_stream_kinetics"), nets.on("i3d_kinetics")
    singles = {
        "RGB": nets.on("two_stream_rgb_imagenet_kinetics", model__inflate=""),
        "Flow": nets.on("two_stream_flow_imagenet_kinetics", model__inflate=""),
    }
    rows = {
        "LSTM": _cells({"RGB": nets.on("convnet_lstm_kinetics")}, {"RGB": "81.0 / 36.0 / 63.3"}),
        "3D-ConvNet": _cells({"RGB": nets.on("c3d_kinetics")}, {"RGB": "51.6 / 24.3 / 56.1"}),
        "Two-Stream": _cells(
            {**singles, "RGB + Flow": both},
            {"RGB": "83.6 / 43.2 / 62.2", "Flow": "85.6 / 56.3 / 52.4", "RGB + Flow": "91.2 / 58.3 / 65.6"},
        ),
        "3D-Fused": {
            "RGB": Cell((), "rgb", "83.2 / 49.2 / -"),  # it is one network here, without an accuracy of each stream
            "Flow": Cell((), "flow", "85.8 / 55.5 / -"),
            "RGB + Flow": Cell(nets.on("fused_two_stream_kinetics"), "two_stream", "89.3 / 56.8 / 67.2"),
        },
        "Two-Stream I3D": _cells(
            dict.fromkeys(STREAMS, i3d),
            {"RGB": "84.5 / 49.8 / 71.1", "Flow": "90.6 / 61.9 / 63.4", "RGB + Flow": "93.4 / 66.4 / 74.2"},
        ),
    }
    note = "The paper's networks, but the 3D-ConvNet, begin with ImageNet; here all are trained from scratch."
    return PaperTable(
        "Five architectures", "Quo Vadis, Table 2", "UCF-101 split 1 / HMDB-51 split 1 / Kinetics", note, rows
    )


def quo_vadis_table3(study: StudyConfig) -> PaperTable:
    """Return Quo Vadis, Table 3: from scratch and from inflated ImageNet weights."""
    nets = Networks(study, "motions")
    paper = {
        "LSTM": ("convnet_lstm_kinetics", "rgb", "53.9", "63.3"),
        "Two-Stream I3D, RGB": ("i3d_kinetics", "rgb", "68.4", "71.1"),
        "Two-Stream I3D, Flow": ("i3d_kinetics", "flow", "61.5", "63.4"),
        "Two-Stream I3D": ("i3d_kinetics", "two_stream", "71.6", "74.2"),
    }
    rows = {
        row: {
            "from scratch": Cell(nets.on(recipe, *_streams(network)), network, scratch),
            "from ImageNet": Cell(nets.from_images(recipe, *_streams(network)), network, images),
        }
        for row, (recipe, network, scratch, images) in paper.items()
    }
    rows["3D-ConvNet"] = {"from scratch": Cell(nets.on("c3d_kinetics"), "rgb", "56.1")}
    for row, network, scratch, images in (
        ("Two-Stream, RGB", "rgb", "57.9", "62.2"),
        ("Two-Stream, Flow", "flow", "49.6", "52.4"),
        ("Two-Stream", "two_stream", "62.8", "65.6"),
        ("3D-Fused", "two_stream", "62.7", "67.2"),
    ):
        rows[row] = {"from scratch": Cell((), network, scratch), "from ImageNet": Cell((), network, images)}
    note = (
        "On rendered clips a GoogLeNet that has learned patterns from single frames stands for ImageNet. Rows without "
        "a measured figure are the paper's alone."
    )
    return PaperTable("With and without ImageNet", "Quo Vadis, Table 3", "Kinetics", note, rows)


def quo_vadis_table4(study: StudyConfig) -> PaperTable:
    """Return Quo Vadis, Table 4: training on the target alone, a new classifier, and fine-tuning."""
    nets = Networks(study, "other_motions")
    paper = {
        "LSTM": ("convnet_lstm_kinetics", "rgb", ("54.2 / 18.3", "82.6 / 47.1", "86.8 / 49.7")),
        "3D-ConvNet": ("c3d_kinetics", "rgb", ("51.6 / 24.3", "76.0 / 47.0", "79.9 / 49.4")),
        "Two-Stream": ("two_stream_kinetics", "two_stream", ("83.6 / 47.1", "93.3 / 65.9", "93.8 / 64.3")),
        "3D-Fused": ("fused_two_stream_kinetics", "two_stream", ("69.5 / 37.3", "89.8 / 64.6", "91.5 / 66.5")),
        "Two-Stream I3D": ("i3d_kinetics", "two_stream", ("88.8 / 62.2", "97.4 / 78.6", "97.6 / 81.3")),
    }
    modes = {"Original": "original", "Fixed": "fixed", "Full-FT": "full"}
    rows = {
        row: {
            column: Cell(nets.tuned(recipe, mode), network, figure)
            for (column, mode), figure in zip(modes.items(), figures, strict=True)
        }
        for row, (recipe, network, figures) in paper.items()
    }
    note = "The figures of the paper are those without ImageNet."
    return PaperTable("Transfer", "Quo Vadis, Table 4", "UCF-101 / HMDB-51, split 1", note, rows)


def _varied(study: StudyConfig, field: str, values: Sequence[str], source: str, says: str, note: str) -> PaperTable:
    nets = Networks(study, "motions", large=True)
    rows: dict[str, dict[str, Cell]] = {"T3D-121": {}, "DenseNet3D-121": {}}
    for row, recipe in zip(rows, ("t3d121_kinetics", "densenet3d121_kinetics"), strict=True):
        for value in values:
            changes = {f"clips__{field}": value}
            if field == "crop":
                changes["clips__short_side"] = str(round(int(value) * 256 / 224))
            elif field == "frames" and study.shards:
                changes["evaluation__val_frames"] = value
            rows[row][f"{field} {value}"] = Cell(nets.on(recipe, **changes), "rgb")
    return PaperTable(says, source, "UCF-101 split 1", f"{note} The paper's figures are not known here.", rows)


def t3d_table2(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 2: depth of the network."""
    nets = Networks(study, "patterns", large=True)
    rows = {
        row: {"top-1": Cell(nets.on(recipe), "rgb")}
        for row, recipe in {"T3D-121": "t3d121_kinetics", "T3D-169": "t3d169_kinetics"}.items()
    }
    note = "The paper finds the deeper network slightly better; its figures are not known here."
    return PaperTable("Depth of the network", "T3D, Table 2", "UCF-101 split 1", note, rows)


def t3d_table3(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 3: temporal depth of the input."""
    values, note = ("16", "32") if study.shards else ("16", "24"), "The paper finds that more frames are better."
    return _varied(study, "frames", values, "T3D, Table 3", "Temporal depth of the input", note)


def t3d_table4(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 4: four networks under one recipe."""
    nets = Networks(study, "patterns", large=True)
    paper = {
        "ResNet3D-50": ("resnet3d50_t3d_kinetics", "59.2"),
        "Inception3D": ("inception3d_t3d_kinetics", "69.5"),
        "DenseNet3D-121": ("densenet3d121_kinetics", "69.1"),
        "T3D": ("t3d121_kinetics", "71.4"),
    }
    rows = {row: {"top-1": Cell(nets.on(recipe), "rgb", figure)} for row, (recipe, figure) in paper.items()}
    return PaperTable("Networks", "T3D, Table 4", "UCF-101 split 1", "All are trained from scratch.", rows)


def t3d_table5(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 5: resolution."""
    values, note = ("112", "224") if study.shards else ("32", "56"), "The paper finds 224 pixels better than 112."
    return _varied(study, "crop", values, "T3D, Table 5", "Resolution", note)


def t3d_table6(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 6: stride between the frames of a window."""
    note = "The paper finds a stride of 2 best."
    return _varied(study, "stride", ("1", "2", "4"), "T3D, Table 6", "Stride", note)


def t3d_table8(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 8: supervision transfer from a 2D network."""
    nets = Networks(study, "few_patterns", "patterns", large=True)
    paper = {"ResNet3D-50": "resnet3d50_t3d", "DenseNet3D-121": "densenet3d121", "T3D": "t3d121"}
    rows = {
        row: {
            "from scratch": Cell(nets.tuned(f"{recipe}_kinetics", "original"), "rgb"),
            "Transfer": Cell(nets.tuned(f"{recipe}_kinetics", "full", taught=True), "rgb"),
        }
        for row, recipe in paper.items()
    }
    note = "The paper finds T3D and transfer best; its figures are not known here. FT-Transfer is left out."
    return PaperTable("Supervision transfer", "T3D, Table 8", "UCF-101", note, rows)


def t3d_table10(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 10: fine-tuning, the mean over the splits."""
    nets = Networks(study, "few_patterns", "patterns", large=True)
    paper = {
        "ResNet3D": ("resnet3d50_t3d_kinetics", "86.1 / 55.6", False),
        "Inception3D": ("inception3d_t3d_kinetics", "87.2 / 56.9", False),
        "DenseNet3D": ("densenet3d121_kinetics", "88.9 / 57.8", False),
        "T3D": ("t3d121_kinetics", "90.3 / 59.2", False),
        "T3D-Transfer": ("t3d121_kinetics", "91.7 / 61.1", True),
    }
    rows = {
        row: {"top-1": Cell(nets.tuned(recipe, "full", taught=taught), "rgb", figure)}
        for row, (recipe, figure, taught) in paper.items()
    }
    note = "The paper pretrains on Kinetics and takes the mean over three splits; give them as three shard sets."
    return PaperTable("Fine-tuning", "T3D, Table 10", "UCF-101 / HMDB-51, mean of three splits", note, rows)


def resnets_scratch(study: StudyConfig) -> PaperTable:
    """Return 3D ResNets, the figure of training from scratch: which data sets a 3D ResNet-18 overfits."""
    rows: dict[str, dict[str, Cell]] = {}
    for place, data in enumerate(study.shards or ("motions", "other_motions", "patterns", "few_patterns")):
        only = replace(study, shards=(data,)) if study.shards else study
        own = tuple(
            replace(one, name=f"{one.name}-{place}-{data.rpartition('/')[2]}")
            for one in Networks(only, data).on("resnet3d18_kinetics", "rgb")
        )
        rows[data] = {
            "training": Cell(own, "rgb", measure="training"),
            "validation": Cell(own, "rgb", measure="validation"),
            "test": Cell(own, "rgb"),
        }
    note = "Where training is far above validation, the set is too small. UCF-101 from scratch: 42.4 % in the paper."
    data_sets = "UCF-101, HMDB-51, ActivityNet, Kinetics"
    return PaperTable("3D ResNet-18 from scratch", "3D ResNets, section 4.1", data_sets, note, rows)


RESNETS = {  # row: recipe; mean of top-1 and top-5 on Kinetics; UCF-101 / HMDB-51, where they are verified
    "ResNet-18": ("resnet3d18_kinetics", "66.1", "84.4 / 56.4"),
    "ResNet-34": ("resnet3d34_kinetics", "71.0", "87.7 / 59.1"),
    "ResNet-50": ("resnet3d50_kinetics", "72.2", "89.3 / -"),
    "ResNet-101": ("resnet3d101_kinetics", "73.3", "88.9 / -"),
    "ResNet-152": ("resnet3d152_kinetics", "73.7", ""),
    "ResNet-200": ("resnet3d200_kinetics", "73.7", ""),
    "ResNet-200 (pre-act)": ("preact_resnet3d200_kinetics", "73.4", ""),
    "Wide ResNet-50": ("wide_resnet3d50_kinetics", "74.7", ""),
    "ResNeXt-101": ("resnext3d101_kinetics", "75.4", "90.7 / -"),
    "DenseNet-121": ("hara_densenet3d121_kinetics", "70.8", ""),
    "DenseNet-201": ("hara_densenet3d201_kinetics", "72.3", ""),
}


def resnets_table2(study: StudyConfig) -> PaperTable:
    """Return 3D ResNets, Table 2: depth and architecture."""
    nets, measure = Networks(study, "patterns", large=True), "mean of top-1 and top-5"
    rows = {
        row: {measure: Cell(nets.on(recipe), "rgb", paper, "mean of top-1 and top-5")}
        for row, (recipe, paper, _) in RESNETS.items()
    }
    return PaperTable("Depth and architecture", "3D ResNets, Table 2", "Kinetics validation", "", rows)


def resnets_fine_tuned(study: StudyConfig) -> PaperTable:
    """Return 3D ResNets, the table of fine-tuning conv5_x and the classifier."""
    nets = Networks(study, "few_patterns", "patterns", large=True)
    rows = {
        row: {"top-1": Cell(nets.tuned(recipe, "last_block"), "rgb", paper)}
        for row, (recipe, _, paper) in RESNETS.items()
        if paper
    }
    note = "conv5_x and the classifier are trained; the networks come from the source set."
    return PaperTable("Fine-tuning", "3D ResNets, section 4.3", "UCF-101 / HMDB-51", note, rows)


TABLES: dict[str, Callable[[StudyConfig], PaperTable]] = {
    table.__name__: table
    for table in (
        quo_vadis_table2, quo_vadis_table3, quo_vadis_table4,
        t3d_table2, t3d_table3, t3d_table4, t3d_table5, t3d_table6, t3d_table8, t3d_table10,
        resnets_scratch, resnets_table2, resnets_fine_tuned,
    )
}  # fmt: skip


def table_of(study: StudyConfig) -> PaperTable | None:
    """Return the table that a study names; None if it tests the claims.

    Raises:
        ConfigError: there is no experiment of that name, or options do not go with it.
    """
    if study.experiment == "claims":
        if study.shards or study.source:
            raise ConfigError("shards: the claims are tested on rendered clips; --experiment names a table for shards")
        return None
    if study.experiment not in TABLES:
        hint = nearest(study.experiment, ["claims", *TABLES])
        raise ConfigError(f"--experiment {study.experiment}: no such experiment; {hint}")
    if study.claims:
        raise ConfigError(f"--claims: for --experiment claims; {study.experiment} has none")
    return TABLES[study.experiment](study)
