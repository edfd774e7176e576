"""The claims of the papers, the trainings that test them, and which results are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.config import ConfigError, ModelConfig, nearest
from pipeline.experiments.settings import StudyConfig, training_config
from pipeline.experiments.trial import INFLATE, Training

Pick = Literal["worse", "better"]


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        says: its name in the table.
        training: the training whose outcomes are compared.
        network: the network of the training: rgb, flow, two_stream or matching; or worse or better, for the worse or
            better of the two streams.
    """

    says: str
    training: Training
    network: str | Pick


@dataclass(frozen=True)
class Comparison:
    """One row of the table; the claim is that the first side is better than the second.

    Attributes:
        first: the side that should be better.
        second: the side that should be worse.
        measure: top1, the accuracy on the test split; or steps, the optimiser steps that a side needs to reach the best
            validation accuracy of the second side.
        margin: how much better the first side must be, as a share of clips.
    """

    first: Side
    second: Side
    measure: Literal["top1", "steps"] = "top1"
    margin: float = 0.0


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        name: its name for `--claims`.
        says: the claim in words.
        source: the paper and its section or table.
        note: what a reader must know about the way it is tested here.
        comparisons: the comparisons that would confirm it.
    """

    name: str
    says: str
    source: str
    note: str
    comparisons: tuple[Comparison, ...]

    @property
    def trainings(self) -> dict[str, Training]:
        """The trainings that the claim compares, by name."""
        sides = [side for comparison in self.comparisons for side in (comparison.first, comparison.second)]
        return {side.training.name: side.training for side in sides}


class Trainings:
    """The trainings, each defined once because several claims share them."""

    def __init__(self, study: StudyConfig) -> None:
        self.study = study

    def motions(self) -> Training:
        """Two-stream I3D on the eight motions, with each stream trained on its own."""
        model = ModelConfig(name="i3d")
        config = training_config(self.study, "motions", model, training__epochs="9")
        return Training("i3d-motions", "motions", config)

    def single_frame(self) -> Training:
        """I3D on single RGB frames of the eight motions."""
        one = {"clips__frames": "1", "clips__stride": "1", "evaluation__val_frames": "1"}
        model = ModelConfig(name="i3d", streams=("rgb",))
        config = training_config(self.study, "motions", model, training__epochs="9", **one)
        return Training("i3d-one-frame", "motions", config)

    def few_labels(self, mode: Literal["original", "fixed", "full"]) -> Training:
        """I3D on the flow of the other motions, in one of the modes of Quo Vadis, Table 4."""
        model = ModelConfig(name="i3d", streams=("flow",), fine_tune=mode)
        rate = "1e-2" if mode == "fixed" else "1e-3"  # training only the classifier tolerates a higher rate
        config = training_config(self.study, "other_motions", model, training__epochs="32", optimiser__lr=rate)
        starts = {} if mode == "original" else {"flow": self.motions()}
        return Training(f"i3d-flow-{mode}", "other_motions", config, starts=starts)

    def image_network(self, name: str, levels: str) -> Training:
        """A 2D network of torchvision trained on single frames, in place of one trained on ImageNet."""
        model = ModelConfig(name=name, streams=("rgb",), levels=levels)  # type: ignore[arg-type]
        small = {"clips__frames": "1", "clips__stride": "1", **_PICTURE, "training__batch_size": "16"}
        config = training_config(self.study, "patterns", model, training__epochs="12", **small)
        return Training(f"{name}-frames", "patterns", config, kind="frames", seeded=False)

    def patterns(self, start: Literal["scratch", "inflated", "student"]) -> Training:
        """I3D on RGB of the patterns with few labels."""
        tuned: Literal["none", "full"] = "full" if start == "student" else "none"
        options = {"stem_padding": "symmetric"} if start == "inflated" else {}
        model = ModelConfig(name="i3d", streams=("rgb",), fine_tune=tuned, options=options)
        config = training_config(
            self.study, "few_patterns", model, training__epochs="16", **_SHORT, **_PICTURE, evaluation__val_frames="4"
        )
        starts = {
            "scratch": {},
            "inflated": {INFLATE: self.image_network("googlenet", "signed")},
            "student": {"rgb": self.supervision()},
        }[start]
        return Training(f"i3d-patterns-{start}", "few_patterns", config, starts=starts)

    def supervision(self) -> Training:
        """I3D taught by a frozen DenseNet-121 on the clips of the patterns, without their labels."""
        model = ModelConfig(name="i3d", streams=("rgb",))
        sizes = {**_SHORT, **_PICTURE, "evaluation__val_frames": "4", "training__batch_size": "16"}  # 8 learned nothing
        config = training_config(self.study, "patterns", model, training__epochs="64", **sizes)
        starts = {INFLATE: self.image_network("densenet121", "imagenet")}
        return Training("i3d-taught", "patterns", config, kind="transfer", starts=starts)


_PICTURE = {"clips__short_side": "36", "clips__crop": "32"}  # DenseNet-121 halves the size 5 times: 32 at least
_SHORT = {"clips__frames": "4", "clips__stride": "3"}


def two_stream(study: StudyConfig) -> Claim:
    """Return the claim of Quo Vadis, Table 2."""
    both = Trainings(study).motions()
    fused = Side("two-stream I3D", both, "two_stream")
    return Claim(
        "two_stream",
        "Two-stream I3D is better than its streams",
        "Quo Vadis, Table 2",
        "RGB and flow are trained apart; their logits are averaged.",
        (
            Comparison(fused, Side("its worse stream", both, "worse")),
            Comparison(fused, Side("its better stream", both, "better")),
        ),
    )


def temporal(study: StudyConfig) -> Claim:
    """Return the claim of Quo Vadis, section 1."""
    trainings = Trainings(study)
    one = Side("I3D on one RGB frame", trainings.single_frame(), "rgb")
    said = {"flow": "I3D on flow", "rgb": "I3D on RGB", "two_stream": "two-stream I3D"}
    return Claim(
        "temporal",
        "Networks that see time are far better than one that sees a single frame",
        "Quo Vadis, section 1",
        "Far: by 20 per cent of clips. The set is made so that one frame says nothing (chance: 12.5 %).",
        tuple(Comparison(Side(text, trainings.motions(), name), one, margin=0.2) for name, text in said.items()),
    )


def start(study: StudyConfig) -> Claim:
    """Return the claim of Quo Vadis, Tables 3 and 4."""
    trainings = Trainings(study)
    scratch = Side("patterns from scratch", trainings.patterns("scratch"), "rgb")
    original = Side("other motions from scratch", trainings.few_labels("original"), "flow")
    inflated = Side("patterns from an inflated GoogLeNet", trainings.patterns("inflated"), "rgb")
    trained = Side("other motions from trained weights", trainings.few_labels("full"), "flow")
    return Claim(
        "start",
        "From inflated or trained weights the same accuracy takes fewer steps",
        "Quo Vadis, sections 2.4 and 4",
        "Steps until the validation accuracy first is what scratch reaches at its best, seen at the end of each epoch. "
        "The inflated network is a GoogLeNet that has learned the patterns from single frames of other clips: ImageNet "
        "is not on this machine. The trained weights are those of I3D on the eight motions.",
        (Comparison(inflated, scratch, "steps"), Comparison(trained, original, "steps")),
    )


def transfer(study: StudyConfig) -> Claim:
    """Return the claim of Quo Vadis, Table 4."""
    trainings = Trainings(study)
    original = Side("Original", trainings.few_labels("original"), "flow")
    return Claim(
        "transfer",
        "With few labels, transfer is better than training on the target alone",
        "Quo Vadis, Table 4",
        "I3D on flow, trained on eight motions, then on eight others with few labels. Original: from scratch; Fixed: "
        "frozen features, new classifier; Full-FT: all.",
        (
            Comparison(Side("Fixed", trainings.few_labels("fixed"), "flow"), original),
            Comparison(Side("Full-FT", trainings.few_labels("full"), "flow"), original),
        ),
    )


def supervision(study: StudyConfig) -> Claim:
    """Return the claim of T3D, section 3.2."""
    trainings = Trainings(study)
    return Claim(
        "supervision",
        "With few labels, a 3D network taught by a frozen 2D one is better than one of random weights",
        "T3D, section 3.2 and Table 8",
        "The teacher is a DenseNet-121 that has learned the patterns from single labelled frames, for want of "
        "ImageNet; the student, an I3D, sees the same clips without labels, then few labels of other clips.",
        (
            Comparison(
                Side("taught, then few labels", trainings.patterns("student"), "rgb"),
                Side("random, then few labels", trainings.patterns("scratch"), "rgb"),
            ),
        ),
    )


CLAIMS: dict[str, Callable[[StudyConfig], Claim]] = {
    claim.__name__: claim for claim in (two_stream, temporal, start, transfer, supervision)
}


def chosen(study: StudyConfig) -> list[Claim]:
    """Return the claims that a study tests.

    Raises:
        ConfigError: a claim of that name does not exist.
    """
    for name in study.claims:
        if name not in CLAIMS:
            raise ConfigError(f"--claims {name}: no such claim; {nearest(name, list(CLAIMS))}")
    return [CLAIMS[name](study) for name in study.claims or CLAIMS]
