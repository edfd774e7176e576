"""The tables of the three papers: rows, columns, recipes, and the published figures that are verified.

A figure of a paper stands for the paper's data set, never for that of the measurement.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pipeline.config import ConfigError, nearest
from pipeline.experiments.papers_cells import Cell, Cells, Measure
from pipeline.experiments.settings import StudyConfig
from pipeline.experiments.trial import Training


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Attributes:
        says: what it compares.
        source: the paper and the table.
        data: the paper's data sets, in the order of the figures in a cell.
        note: what a reader must know about the way it is measured here.
        rows: the cells of each row, by column.
        train: the rows to train; empty for all.
    """

    says: str
    source: str
    data: str
    note: str
    rows: Mapping[str, Mapping[str, Cell]]
    train: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns, in the order in which they first occur."""
        return list(dict.fromkeys(column for cells in self.rows.values() for column in cells))

    @property
    def cells(self) -> list[tuple[str, str, Cell]]:
        """All cells, with row and column."""
        return [(row, column, cell) for row, cells in self.rows.items() for column, cell in cells.items()]

    @property
    def trainings(self) -> list[Training]:
        """The trainings of the rows to train, each once."""
        chosen = [cell for row, _, cell in self.cells if row in (self.train or self.rows)]
        return list({one.name: one for cell in chosen for one in cell.every}.values())


def quo_vadis_table2(study: StudyConfig) -> PaperTable:
    """Return Quo Vadis, Table 2: five architectures, each stream and both."""
    cell = Cells(study, ("long_motions",)).alone
    two_stream, fused, i3d = "two_stream{}_imagenet", "fused_{}_imagenet", "i3d_imagenet"
    rows = {
        "LSTM": {"RGB": cell("convnet_lstm_imagenet", "81.0 / 36.0 / 63.3")},
        "3D-ConvNet": {"RGB": cell("c3d", "51.6 / 24.3 / 56.1")},
        "Two-Stream": {
            "RGB": cell(two_stream.format("_rgb"), "83.6 / 43.2 / 62.2"),
            "Flow": cell(two_stream.format("_flow"), "85.6 / 56.3 / 52.4", "flow"),
            "RGB + Flow": cell(two_stream.format(""), "91.2 / 58.3 / 65.6", "two_stream"),
        },
        "3D-Fused": {
            "RGB": cell(fused.format("rgb"), "83.2 / 49.2 / -"),
            "Flow": cell(fused.format("flow"), "85.8 / 55.5 / -", "flow"),
            "RGB + Flow": cell(fused.format("two_stream"), "89.3 / 56.8 / 67.2", "two_stream"),
        },
        "Two-Stream I3D": {
            "RGB": cell(i3d, "84.5 / 49.8 / 71.1"),
            "Flow": cell(i3d, "90.6 / 61.9 / 63.4", "flow"),
            "RGB + Flow": cell(i3d, "93.4 / 66.4 / 74.2", "two_stream"),
        },
    }
    note = f"All but the 3D-ConvNet begin with ImageNet. {IMAGES}"
    data = "UCF-101 split 1 / HMDB-51 split 1 / Kinetics"
    return PaperTable("Five architectures", "Quo Vadis, Table 2", data, note, rows)


def quo_vadis_table3(study: StudyConfig) -> PaperTable:
    """Return Quo Vadis, Table 3: from scratch and from inflated ImageNet weights."""
    cell = Cells(study, ("long_motions",)).alone
    paper = {
        "LSTM": ("convnet_lstm", "rgb", "53.9", "63.3"),
        "3D-ConvNet": ("c3d", "rgb", "56.1", None),
        "Two-Stream on RGB": ("two_stream_rgb", "rgb", "57.9", "62.2"),
        "Two-Stream on flow": ("two_stream_flow", "flow", "49.6", "52.4"),
        "Two-Stream": ("two_stream", "two_stream", "62.8", "65.6"),
        "3D-Fused": ("fused_two_stream", "two_stream", "62.7", "67.2"),
        "Two-Stream I3D on RGB": ("i3d", "rgb", "68.4", "71.1"),
        "Two-Stream I3D on flow": ("i3d", "flow", "61.5", "63.4"),
        "Two-Stream I3D": ("i3d", "two_stream", "71.6", "74.2"),
    }
    rows = {}
    for row, (network, stream, scratch, images) in paper.items():
        rows[row] = {"from scratch": cell(network, scratch, stream)}
        if images:
            rows[row]["from ImageNet"] = cell(f"{network}_imagenet", images, stream)
    return PaperTable("With and without ImageNet", "Quo Vadis, Table 3", "Kinetics", IMAGES, rows)


def quo_vadis_table4(study: StudyConfig) -> PaperTable:
    """Return Quo Vadis, Table 4: training on the target alone, a new classifier, and fine-tuning."""
    tuned = Cells(study, ("long_other_motions",)).tuned
    paper = {
        "LSTM": ("convnet_lstm", "rgb", ("54.2 / 18.3", "82.6 / 47.1", "86.8 / 49.7")),
        "LSTM with ImageNet": ("convnet_lstm_imagenet", "rgb", ("81.0 / 36.0", "88.1 / 50.8", "91.0 / 53.4")),
        "3D-ConvNet": ("c3d", "rgb", ("51.6 / 24.3", "76.0 / 47.0", "79.9 / 49.4")),
        "Two-Stream": ("two_stream", "two_stream", ("83.6 / 47.1", "93.3 / 65.9", "93.8 / 64.3")),
        "Two-Stream with ImageNet": (
            "two_stream_imagenet", "two_stream", ("91.2 / 58.3", "93.9 / 66.6", "94.2 / 66.6"),
        ),
        "3D-Fused": ("fused_two_stream", "two_stream", ("69.5 / 37.3", "89.8 / 64.6", "91.5 / 66.5")),
        "3D-Fused with ImageNet": (
            "fused_two_stream_imagenet", "two_stream", ("89.3 / 56.8", "94.3 / 69.9", "94.2 / 71.0"),
        ),
        "Two-Stream I3D": ("i3d", "two_stream", ("88.8 / 62.2", "97.4 / 78.6", "97.6 / 81.3")),
        "Two-Stream I3D with ImageNet": ("i3d_imagenet", "two_stream", ("93.4 / 66.4", "97.7 / 79.7", "98.0 / 81.2")),
    }  # fmt: skip
    modes = {"Original": "original", "Fixed": "fixed", "Full-FT": "full"}
    rows = {
        row: {
            column: tuned(network, mode, figure, stream)
            for (column, mode), figure in zip(modes.items(), figures, strict=True)
        }
        for row, (network, stream, figures) in paper.items()
    }
    return PaperTable("Transfer", "Quo Vadis, Table 4", "UCF-101 / HMDB-51, split 1", IMAGES, rows)


def t3d_table2(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 2: depth of the network."""
    cell = Cells(study, ("long_patterns",), large=True).alone
    rows = {"T3D-121": {"top-1": cell("t3d121")}, "T3D-169": {"top-1": cell("t3d169")}}
    note = f"The paper finds the deeper network slightly better. {UNKNOWN}"
    return PaperTable("Depth of the network", "T3D, Table 2", "UCF-101 split 1", note, rows)


def t3d_table3(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 3: temporal depth of the input."""
    note = f"The paper finds that more frames are better. {UNKNOWN}"
    rows = _varied(study, "frames", "16", "32")
    return PaperTable("Temporal depth of the input", "T3D, Table 3", "UCF-101 split 1", note, rows)


def t3d_table4(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 4: four networks under one recipe."""
    cell = Cells(study, ("long_patterns",), large=True).alone
    rows = {
        "ResNet3D-50": {"top-1": cell("resnet3d50_t3d", "59.2")},
        "Inception3D": {"top-1": cell("inception3d_t3d", "69.5")},
        "DenseNet3D-121": {"top-1": cell("densenet3d121", "69.1")},
        "T3D": {"top-1": cell("t3d121", "71.4")},
    }
    return PaperTable("Networks", "T3D, Table 4", "UCF-101 split 1", "All are trained from scratch.", rows)


def t3d_table5(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 5: resolution."""
    note = f"The paper finds 224 pixels better than 112. {UNKNOWN}"
    rows = _varied(study, "crop", *(("112", "224") if study.shards else ("32", "56")))
    return PaperTable("Resolution", "T3D, Table 5", "UCF-101 split 1", note, rows)


def t3d_table6(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 6: stride between the frames of a window."""
    note = f"The paper finds a stride of 2 best. {UNKNOWN}"
    rows = _varied(study, "stride", "1", "2", "4")
    return PaperTable("Stride", "T3D, Table 6", "UCF-101 split 1", note, rows)


def _varied(study: StudyConfig, field: str, *values: str) -> dict[str, dict[str, Cell]]:
    cell = Cells(study, ("long_motions",), large=True).alone
    networks = {"T3D-121": "t3d121", "DenseNet3D-121": "densenet3d121"}
    return {
        row: {f"{field} {value}": cell(network, clips={field: value}) for value in values}
        for row, network in networks.items()
    }


def t3d_table8(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 8: supervision transfer from a 2D network."""
    cells = Cells(study, ("long_few_patterns",), "long_patterns", large=True)
    rows = {
        row: {
            "from scratch": cells.alone(network),
            "Transfer": cells.tuned(network, start="transfer"),
            "FT-Transfer": cells.tuned(network, start="transfer, then half"),
        }
        for row, network in
        {"ResNet3D-50": "resnet3d50_t3d", "DenseNet3D-121": "densenet3d121", "T3D": "t3d121"}.items()
    }  # fmt: skip
    note = (
        "The paper finds T3D and FT-Transfer best. FT-Transfer trains on half of the labelled source between transfer "
        f"and fine-tuning. {UNKNOWN}"
    )
    return PaperTable("Supervision transfer", "T3D, Table 8", "UCF-101", note, rows)


def t3d_table10(study: StudyConfig) -> PaperTable:
    """Return T3D, Table 10: fine-tuning, the mean over the splits."""
    tuned = Cells(study, ("long_few_patterns",), "long_patterns", large=True).tuned
    rows = {
        "ResNet3D": {"top-1": tuned("resnet3d50_t3d", paper="86.1 / 55.6")},
        "Inception3D": {"top-1": tuned("inception3d_t3d", paper="87.2 / 56.9")},
        "DenseNet3D": {"top-1": tuned("densenet3d121", paper="88.9 / 57.8")},
        "T3D": {"top-1": tuned("t3d121", paper="90.3 / 59.2")},
        "T3D-Transfer": {"top-1": tuned("t3d121", paper="91.7 / 61.1", start="transfer")},
        "T3D+TSN": {"top-1": tuned("t3d121_tsn", paper="93.2 / 63.5", pretrained="t3d121")},
    }
    note = "The paper pretrains on Kinetics and takes the mean over three splits."
    return PaperTable("Fine-tuning", "T3D, Table 10", "UCF-101 / HMDB-51, mean of three splits", note, rows)


def resnets_scratch(study: StudyConfig) -> PaperTable:
    """Return 3D ResNets, the figure of training from scratch: which data sets a 3D ResNet-18 overfits."""
    cells = Cells(study, ("long_motions", "long_other_motions", "long_patterns", "long_few_patterns"), large=True)
    measures: dict[str, Cell] = {one: cells.alone("resnet3d18", measure=one) for one in MEASURES}
    rows = {
        data: {one: replace(cell, trainings={data: cell.trainings[data]}) for one, cell in measures.items()}
        for data in cells.sets
    }
    note = "Where training is far above validation, the set is too small. UCF-101 from scratch: 42.4 % in the paper."
    data_sets = "UCF-101, HMDB-51, ActivityNet, Kinetics"
    return PaperTable("3D ResNet-18 from scratch", "3D ResNets, section 4.1", data_sets, note, rows)


RESNETS = {  # row: network; mean of top-1 and top-5 on Kinetics; UCF-101 / HMDB-51, where they are verified
    "ResNet-18": ("resnet3d18", "66.1", "84.4 / 56.4"),
    "ResNet-34": ("resnet3d34", "71.0", "87.7 / 59.1"),
    "ResNet-50": ("resnet3d50", "72.2", "89.3 / -"),
    "ResNet-101": ("resnet3d101", "73.3", "88.9 / -"),
    "ResNet-152": ("resnet3d152", "73.7", ""),
    "ResNet-200": ("resnet3d200", "73.7", ""),
    "Pre-activation ResNet-200": ("preact_resnet3d200", "73.4", ""),
    "Wide ResNet-50": ("wide_resnet3d50", "74.7", ""),
    "ResNeXt-101": ("resnext3d101", "75.4", "90.7 / -"),
    "DenseNet-121": ("hara_densenet3d121", "70.8", ""),
    "DenseNet-201": ("hara_densenet3d201", "72.3", ""),
}


def resnets_table2(study: StudyConfig) -> PaperTable:
    """Return 3D ResNets, Table 2: depth and architecture."""
    cell, measure = Cells(study, ("long_patterns",), large=True).alone, "mean of top-1 and top-5"
    rows = {
        row: {measure: cell(network, paper, measure="mean of top-1 and top-5")}
        for row, (network, paper, _) in RESNETS.items()
    }
    return PaperTable("Depth and architecture", "3D ResNets, Table 2", "Kinetics validation", "", rows)


def resnets_fine_tuned(study: StudyConfig) -> PaperTable:
    """Return 3D ResNets, the table of fine-tuning conv5_x and the classifier."""
    cells = Cells(study, ("long_few_patterns",), "long_patterns", large=True)
    rows = {
        "ResNet-18 from scratch": {"top-1": cells.alone("resnet3d18", "42.4 / -")},
        **{row: {"top-1": cells.tuned(network, paper=paper)} for row, (network, _, paper) in RESNETS.items()},
        "ResNeXt-101 on 64 frames": {"top-1": cells.tuned("resnext3d101_64f", paper="94.5 / 70.2")},
    }
    note = (
        "conv5_x and the classifier are trained; the networks come from the source set. The figures of ResNeXt-101 on "
        "64 frames are means over three splits."
    )
    return PaperTable("Fine-tuning", "3D ResNets, section 4.3", "UCF-101 / HMDB-51", note, rows)


MEASURES: tuple[Measure, ...] = ("training", "validation", "test")
UNKNOWN = "The paper's figures are not known here."
IMAGES = "On rendered clips a GoogLeNet that has learned patterns from single frames stands for that of ImageNet."
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
        ConfigError: there is no experiment of that name, options do not go with it, or a shard set does not fit.
    """
    if study.experiment == "claims":
        for option in ("shards", "source", "rows"):
            if getattr(study, option):
                raise ConfigError(f"--{option}: the claims are tested on rendered clips; --experiment names a table")
        return None
    if study.experiment not in TABLES:
        hint = nearest(study.experiment, ["claims", *TABLES])
        raise ConfigError(f"--experiment {study.experiment}: no such experiment; {hint}")
    if study.claims:
        raise ConfigError(f"--claims: for --experiment claims; {study.experiment} has none")
    table = TABLES[study.experiment](study)
    for row in study.rows:
        if row not in table.rows:
            raise ConfigError(f"--rows {row}: {study.experiment} has no such row; {nearest(row, list(table.rows))}")
    table = replace(table, train=study.rows)
    if not table.trainings:
        raise ConfigError(f"--shards: {study.experiment} has no network for the streams that these sets store")
    return table
