"""The typed configuration tree: one frozen dataclass a concern, checked when it is made.

A recipe (`pipeline.recipes`) returns a whole `Config`; the command line (`pipeline.command_line`) changes single fields
by their dotted names. The resolved tree is logged with every run and is enough to repeat it. The string under a field
is its documentation and becomes its line in `--help`.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter
from pydantic import ValidationError as PydanticValidationError
from pydantic.dataclasses import dataclass

from pipeline.masking import masked

T = TypeVar("T")
Stream = Literal["rgb", "flow"]
Auto = Literal["auto"]
Dataset = Literal[
    "kinetics400", "kinetics600", "kinetics700", "kinetics700_2020", "ucf101", "hmdb51",
    "youtube8m", "youtube8m_segments", "folder", "motion_shapes",
]  # fmt: skip

_MEMBER = re.compile(r"constrained-\w+|literal\[.*\]")  # how pydantic names the members of a union, behind its field
VERSION = "0.1.0"  # of this package
_WRITTEN_BY = "# written by video-action-pipeline "  # and the version: the last line of a saved config
_checked = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True)


class ConfigError(ValueError):
    """A field that does not exist or a value that it cannot take; one line, for the user."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class MotionShapesConfig:
    """The rendered data set: moving shapes, by default of 8 classes told apart by motion alone."""

    classes: Literal["motions", "other_motions", "patterns"] = "motions"
    """8 motions, 8 others (diagonals and spirals), or 5 patterns of the shapes, whose motion then says nothing."""
    train: PositiveInt = 50
    """Training clips a class."""
    val: PositiveInt = 10
    """Validation clips a class."""
    test: PositiveInt = 20
    """Test clips a class."""
    frames: PositiveInt = 32
    """Frames a clip, at 25 a second."""
    size: PositiveInt = 64
    """Height and width in pixels."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class CatalogConfig:
    """Which clips there are."""

    dataset: Dataset = "kinetics400"
    """The data set, which says how its annotation files are read."""
    annotations: dict[str, str] = field(default_factory=dict)
    """Kinetics: the CSV of each split, as --catalog.annotations.train FILE. UCF-101, HMDB-51: splits FOLDER.
    YouTube-8M: records of each split; ids FILE keeps YouTube's ids, lookup URL is where they are asked for."""
    split_number: Literal[1, 2, 3] = 1
    """UCF-101, HMDB-51: which of the three published splits."""
    videos: str = ""
    """Folder of the video files, or address of one (s3://, https://) for Kinetics; motion_shapes: where they are
    rendered. Kinetics and YouTube-8M: empty, they are fetched from YouTube."""
    archives: dict[str, str] = field(default_factory=dict)
    """Kinetics: archives of each split, as --catalog.archives.train WHERE: a .tar.gz, a folder of them, an s3://
    prefix, or a list (.txt) of paths or addresses; replacements WHERE overrides members of the same name."""
    groups: str = ""
    """folder: a CSV or TSV with columns file and group, whose clips show one source and stay on one side of the split;
    empty for none."""
    fold: str = ""
    """folder: the fold that is the test split, by its value in the fold column of catalog.groups, or as COLUMN=VALUE;
    empty for none."""
    split_seed: NonNegativeInt = 0
    """folder: seed of the split that is drawn where there are no folders train, val and test."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """folder: share of the clips that is drawn for validation; 0 for none."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """folder: share of the clips that is drawn for the test; 0 to test on the validation clips."""
    splits: tuple[str, ...] = ()
    """Splits to take; empty for all."""
    limit: PositiveInt | None = None
    """At most so many clips of each split, taken evenly over the list; none for all."""
    motion_shapes: MotionShapesConfig = field(default_factory=MotionShapesConfig)
    """Only for motion_shapes: how much is rendered."""

    def __post_init__(self) -> None:
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"val_fraction: {self.val_fraction:g} and test_fraction {self.test_fraction:g} leave no training clip"
            )
        if (self.groups or self.fold) and self.dataset != "folder":
            raise ConfigError(f"groups: for --catalog.dataset folder; {self.dataset} has splits of its own")

    @property
    def name(self) -> str:
        """The data set, and the split of it where there are several: what a shard set is called."""
        return f"{self.dataset}_split{self.split_number}" if self.dataset in ("ucf101", "hmdb51") else self.dataset


@dataclass(frozen=True, kw_only=True, config=_checked)
class FlowConfig:
    """TV-L1 optical flow; parameters are named as OpenCV names them and default to its values."""

    backend: Literal["auto", "opencv", "cpu", "cuda"] = "auto"
    """The implementation; recorded in every row and never mixed in one shard set."""
    tau: PositiveFloat = 0.25
    """Time step of the numerical scheme."""
    lambda_: PositiveFloat = 0.15
    """Weight of the data term: smaller is smoother."""
    theta: PositiveFloat = 0.3
    """Tightness between data and smoothness terms."""
    nscales: PositiveInt = 5
    """Scales of the image pyramid."""
    warps: PositiveInt = 5
    """Warps a scale."""
    epsilon: PositiveFloat = 0.01
    """Stopping criterion: smaller is more exact and slower."""
    innerIterations: PositiveInt = 30  # noqa: N815
    """Inner iterations a warp."""
    outerIterations: PositiveInt = 10  # noqa: N815
    """Outer iterations a warp, each ending in a median filter."""
    scaleStep: PositiveFloat = 0.8  # noqa: N815
    """Ratio of neighbouring pyramid scales, below 1."""
    gamma: NonNegativeFloat = 0.0
    """Weight of the illumination term."""
    medianFiltering: Literal[1, 3, 5] = 5  # noqa: N815
    """Side of the median filter in pixels; 1 for none."""
    bound: PositiveFloat = 20.0
    """Displacements are cut to [-bound, bound] pixels and quantised to 8 bits (I3D: 20)."""

    @property
    def parameters(self) -> dict[str, float]:
        """TV-L1's own parameters: all fields but the backend and what becomes of its result."""
        names = [each.name for each in dataclasses.fields(self) if each.name not in ("backend", "bound")]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True, config=_checked)
class FetchConfig:
    """How videos that are not here are brought here: archives, http(s), object stores, YouTube."""

    timeout_s: PositiveFloat = 30.0
    """Seconds without a byte after which a transfer counts as stalled and is tried again."""
    tries: PositiveInt = 5
    """Tries of one transfer where the error may pass; the pauses between them double, from a second."""
    max_mib: PositiveInt = 2048
    """Largest file or archive member accepted, in MiB."""
    youtube_height: PositiveInt = 360
    """YouTube: greatest height fetched, in pixels."""
    youtube_per_hour: PositiveFloat = 240.0
    """YouTube: videos an hour and egress address, over the whole cluster."""
    youtube_pause_s: PositiveFloat = 3600.0
    """YouTube: how long an address rests after it was refused (429, bot check), in seconds."""
    youtube_cookies: str = ""
    """YouTube: cookie file in Netscape format; empty for none."""
    youtube_proxies: tuple[str, ...] = ()
    """YouTube: proxies to take in turn, each an egress address of its own; empty for none."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class IngestConfig:
    """From catalog rows to Parquet shards."""

    shards: str = ""
    """Folder of the shard set; empty for STORAGE/shards/DATASET."""
    streams: tuple[Stream, ...] = ("rgb", "flow")
    """What is stored: rgb alone skips the computation of flow."""
    short_side: PositiveInt = 256
    """Shorter side of the stored clips in pixels (I3D: 256)."""
    fps: PositiveInt = 25
    """Constant frame rate of the stored clips (I3D: 25)."""
    crf: NonNegativeInt = 17
    """H.264 quality to begin with: smaller is better and larger."""
    min_psnr: NonNegativeFloat = 36.0
    """Worst frame of a stored clip against its source in dB; a clip below it is encoded again at a higher quality."""
    gop: PositiveInt = 12
    """Frames between key frames: what a random window decodes in vain."""
    clips_per_shard: PositiveInt = 64
    """Clips a Parquet file."""
    max_seconds: PositiveFloat = 300.0
    """Longest clip accepted, in seconds."""
    decode_timeout_s: PositiveFloat = 120.0
    """Longest time that decoding one clip may take, in seconds; then its process is killed and the clip has failed."""
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Largest share of failed clips with which the shard set still counts as good, from 0 to 1."""
    allow_leaks: bool = False
    """Whether a video may have clips, or the same pictures may stand, in two splits of one set."""
    fetch: FetchConfig = field(default_factory=FetchConfig)
    """How videos that are not here are brought here."""
    flow: FlowConfig = field(default_factory=FlowConfig)
    """How flow is computed."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class ClipsConfig:
    """From stored clips to training windows (I3D: 64 frames, short side 256, random 224 crop, flip)."""

    frames: PositiveInt = 64
    """Temporal depth: frames a window."""
    stride: PositiveInt = 1
    """Stored frames from one frame of the window to the next."""
    short_side: PositiveInt | None = None
    """Resize windows to this shorter side before the crop; none keeps the stored size."""
    crop: PositiveInt = 224
    """Side of the square crop: random in training, central in evaluation."""
    augment: Literal["random_crop", "corner_crop", "multi_scale_corner_crop"] = "random_crop"
    """Training crops: anywhere (I3D); the four corners and the centre (T3D); these at five scales (3D ResNets)."""
    rgb_every: PositiveInt = 1
    """Networks that take both streams at once: frames of flow for each frame of RGB, the middle one of them (10)."""
    flip: bool = True
    """Mirror half of the training windows; the x component of flow is then negated."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class ModelConfig:
    """The network of each stream."""

    name: str = "i3d"
    """A name that `pipeline.models.list_models()` knows."""
    streams: tuple[Stream, ...] = ("rgb", "flow")
    """Streams to train, each a network of its own; their logits are averaged in evaluation."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of features dropped in training, where the network has dropout."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further keyword options of the network, as --model.options.NAME VALUE."""
    levels: Literal["signed", "activitynet", "imagenet", "kinetics"] = "signed"
    """What RGB networks are given: levels from -1 to 1 (I3D); from 0 to 255 less the mean of ActivityNet (3D ResNets);
    from 0 to 1 less the mean of ImageNet, or of Kinetics (torchvision), divided by its deviation. Flow is always from
    -1 to 1."""
    weights: dict[str, str] = field(default_factory=dict)
    """Weights to begin with, as --model.weights.rgb PATH (flow; two_stream for a network that takes both): a run or its
    name, of which the best checkpoint is taken, a checkpoint, a state dict, a published file, or the name of one that
    is downloaded (r3d_18). Other classes give a new classifier, the same in another order keep theirs."""
    inflate: str = ""
    """2D weights of ImageNet to inflate: a file of torchvision's, or its name (googlenet, resnet50), which downloads
    it; empty for none."""
    fine_tune: Literal["none", "original", "fixed", "full", "last_block"] = "none"
    """What is trained of model.weights (I3D, Table 4): original, all on the target alone, so without them; fixed, a
    new classifier on frozen features; full, all, with a new classifier; last_block, conv5_x and a new classifier (3D
    ResNets). none: no transfer, a training goes on."""

    def __post_init__(self) -> None:
        if self.weights and self.fine_tune == "original":
            raise ConfigError("fine_tune: original trains on the target alone; leave out model.weights or take full")
        if self.weights and self.inflate:
            raise ConfigError("inflate: model.weights are given too; begin with one of them")


@dataclass(frozen=True, kw_only=True, config=_checked)
class OptimiserConfig:
    """SGD with momentum (I3D: 0.1, 0.9, 1e-7), or AdamW."""

    name: Literal["sgd", "adamw"] = "sgd"
    """The optimiser."""
    lr: PositiveFloat = 0.1
    """Initial learning rate, for the whole batch of all workers."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD; AdamW's first beta."""
    dampening: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """SGD: share of each gradient kept out of the momentum (3D ResNets: 0.9, as Torch7 had it)."""
    nesterov: bool = False
    """SGD: Nesterov's momentum (T3D)."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """AdamW's second beta."""
    weight_decay: NonNegativeFloat = 1e-7
    """Weight decay."""

    def __post_init__(self) -> None:
        if self.nesterov and (self.dampening or not self.momentum):
            raise ConfigError("nesterov: needs momentum above 0 and dampening 0")


@dataclass(frozen=True, kw_only=True, config=_checked)
class ScheduleConfig:
    """The learning rate over time; by default divided when the validation loss stops falling (I3D: by 10)."""

    name: Literal["plateau", "step", "cosine"] = "plateau"
    """plateau: falls when the validation loss, summed over all workers, stops falling; step: at the milestones;
    cosine: along half a wave from the first step after the warm-up to the last."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The learning rate is multiplied by this on a plateau or at a milestone."""
    patience: NonNegativeInt = 3
    """plateau: epochs without a better validation loss before that."""
    milestones: tuple[PositiveInt, ...] = ()
    """step: when the learning rate changes, counted from the start."""
    unit: Literal["epochs", "steps"] = "epochs"
    """step: what milestones count."""
    rates: tuple[PositiveFloat, ...] = ()
    """step: the learning rate from each milestone on; empty to multiply by factor at each."""
    min_lr: NonNegativeFloat = 0.0
    """plateau: the learning rate never falls below this; cosine: where it ends."""
    stop_lr: NonNegativeFloat = 0.0
    """Training ends when the learning rate has fallen below this; 0 runs all epochs."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate first rises linearly from 0."""

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError(f"milestones: {','.join(map(str, self.milestones))} must rise")
        if (self.name == "step") != bool(self.milestones):
            raise ConfigError(f"milestones: needed for step and for nothing else, and the schedule is {self.name}")
        if self.rates and len(self.rates) != len(self.milestones):
            raise ConfigError(f"rates: {len(self.rates)} for {len(self.milestones)} milestones; give one for each")


@dataclass(frozen=True, kw_only=True, config=_checked)
class TrainingConfig:
    """How long, in which portions and in which precision."""

    epochs: PositiveInt = 40
    """Passes over the training split."""
    steps: PositiveInt | None = None
    """Stop after so many optimiser steps even if epochs are left."""
    batch_size: PositiveInt = 6
    """Clips a forward pass and worker (I3D: 6)."""
    clips_per_step: PositiveInt | None = None
    """Clips of one step, over all workers: accumulate then follows, so that a step is the same on any machine; none for
    batch_size x accumulate x resources.workers."""
    accumulate: PositiveInt = 1
    """Forward passes of each worker whose gradients make one step: what does not fit in memory at once."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """bf16 autocast, which auto takes on GPUs only; fp32 multiplies all bits on GPUs too, tf32 the first 10."""
    compile: bool = False
    """Compile the network for training with torch.compile: minutes at the start; measure whether it pays."""
    clip_gradient: PositiveFloat | None = None
    """Largest norm of the gradient; none for no limit."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread over all classes."""
    mixup: NonNegativeFloat = 0.0
    """Mix pairs of clips and of their labels, shares from Beta(mixup, mixup); 0 for none."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay a step of the moving average of the weights (EMA), which is then what is evaluated; 0 for none."""
    sync_batch_norm: bool = False
    """Batch-norm statistics of a step over all workers instead of each worker's own; GPUs only."""
    precise_batch_norm: NonNegativeInt = 0
    """Batches a worker from which batch-norm statistics are taken anew before every evaluation; 0 for none."""
    train_split: str = "train"
    """Split trained on."""
    val_split: str = "val"
    """Split of the validation loss, which steers a plateau schedule and picks the best checkpoint."""
    checkpoint_steps: PositiveInt | None = None
    """Optimiser steps between checkpoints inside an epoch; none for one at the end of each epoch only."""
    keep: Literal["best", "last"] = "best"
    """The checkpoint that is evaluated and registered: of the lowest validation loss, or of the last epoch, for data
    sets without a validation split, where val_split is the test split."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class EvaluationConfig:
    """The test: which views of a clip are scored, and how they are averaged."""

    split: str = "val"
    """Split of the reported accuracy; auto: test where there is one, else that of the validation. The Kinetics test
    lists have no labels."""
    protocol: Literal["auto", "i3d", "lstm", "c3d", "two_stream", "t3d", "resnet3d", "views"] = "auto"
    """Views of a clip, as published: i3d and lstm, the whole clip; c3d and t3d, windows end to end; resnet3d, the same
    with the rest, softmax averaged; two_stream, 25 snapshots; views, see there; auto: that of the network's paper."""
    frames: PositiveInt | None = None
    """i3d: frames of the central test window; none for the whole clip."""
    views: PositiveInt = 10
    """views: windows of clips.frames, spread evenly over the clip."""
    crops: Literal[1, 3, 5, 10] = 3
    """views: crops of each window: centre; ends and middle of the longer side; corners and centre; these mirrored."""
    val_frames: PositiveInt | None = 64
    """Frames of the central window of the validation after every epoch; none for the whole clip."""
    batch_size: PositiveInt = 4
    """Views a forward pass: clips, where a clip has one view."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class ResourcesConfig:
    """What of the cluster is used."""

    workers: PositiveInt | Auto = "auto"
    """Training workers (DDP ranks); auto: one on each GPU, or where there are none one on each node."""
    min_workers: PositiveInt | None = None
    """Train with so few where there is no room for all, each doing more of the same steps; none for all or nothing."""
    gpu: Literal["auto", "yes", "no"] = "auto"
    """Train on GPUs; auto where the cluster has one for each worker."""
    worker_cpus: PositiveFloat | Auto = "auto"
    """CPUs reserved for a training worker, the rest of the cluster decodes for it; without a GPU it also computes on so
    many threads. auto: one beside a GPU, else what one loader leaves of a node."""
    loader_cpus: PositiveFloat | Auto = "auto"
    """CPUs reserved for a task that decodes one batch; auto: one beside GPUs, else a quarter."""
    ingest_cpus: PositiveFloat = 1.0
    """CPUs reserved for a task that ingests one clip."""
    flow_gpu_gib: PositiveFloat = 8.0
    """GiB of a GPU's memory that TV-L1 may take for a batch of frame pairs."""
    max_failures: Annotated[int, Field(ge=-1)] = 2
    """Restarts of the training workers from the last checkpoint before the run fails; -1 for any number."""
    wait_minutes: NonNegativeFloat = 30.0
    """How long, in all, a training waits for room for its workers, or for min_workers of them, such as after the loss
    of a node."""

    def __post_init__(self) -> None:
        if self.min_workers is not None and self.workers != "auto" and self.min_workers > self.workers:
            raise ConfigError(f"min_workers: {self.min_workers} is more than workers, which is {self.workers}")

    @property
    def number_of_workers(self) -> int:
        """`workers`, once it is a number: `pipeline.cluster.connect` makes it one."""
        return int(_number("workers", self.workers))

    @property
    def least_workers(self) -> int:
        """With how many a training starts."""
        return self.number_of_workers if self.min_workers is None else self.min_workers

    @property
    def cpus_of_a_worker(self) -> float:
        """`worker_cpus`, once it is a number."""
        return _number("worker_cpus", self.worker_cpus)

    @property
    def cpus_of_a_loader(self) -> float:
        """`loader_cpus`, once it is a number."""
        return _number("loader_cpus", self.loader_cpus)


@dataclass(frozen=True, kw_only=True, config=_checked)
class TrackingConfig:
    """Where MLflow keeps runs and models."""

    uri: str = ""
    """MLflow tracking URI; empty for a SQLite file in STORAGE."""
    experiment: str = "kinetics-pretrain"
    """MLflow experiment."""
    registered_model: str = "video-i3d-two-stream"
    """Name in the model registry; empty to register nothing."""
    alias: str = "candidate"
    """Alias that is moved to the new version."""
    every_s: PositiveFloat = 10.0
    """Seconds between a training's lines, and between points of its curves by optimiser step."""
    every_steps: PositiveInt | None = None
    """Optimiser steps between them, instead of seconds."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class Config:
    """Everything that one training needs to know, from the list of clips to the registered model."""

    name: str = ""
    """Name of the run, never used twice; empty for EXPERIMENT-TIME."""
    recipe: str = ""
    """Name of the recipe that the rest began as; --recipe sets it."""
    resume: str = ""
    """Name of an interrupted run to continue, as it was: of other fields only the learning rate, resources, and how the
    clips of a step are cut may change."""
    retry: tuple[str, ...] = ()
    """Classes of error whose clips ingest tries again, by name or all that are retryable; else a failure is final."""
    storage: str = "outputs"
    """Folder (or URI) of shards, checkpoints and, unless tracking.uri says otherwise, MLflow."""
    seed: NonNegativeInt = 0
    """Seed of weights, windows, crops and order."""
    allow_other_data: bool = False
    """Whether --resume may go on over a shard set of another digest than the run began with; of the same classes."""
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    """Which clips there are."""
    ingest: IngestConfig = field(default_factory=IngestConfig)
    """From catalog rows to Parquet shards."""
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    """From stored clips to training windows."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network of each stream."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """SGD with momentum, or AdamW."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Learning rate over time."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How long, in which portions and in which precision."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """The test: which views of a clip are scored, and how they are averaged."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """What of the cluster is used."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where MLflow keeps runs and models."""

    def __post_init__(self) -> None:
        missing = set(self.model.streams) - set(self.ingest.streams)
        if missing:
            raise ConfigError(
                f"model.streams: {', '.join(sorted(missing))} is not among ingest.streams "
                f"({', '.join(self.ingest.streams)}); store it or do not train it"
            )
        if len(set(self.model.streams)) != len(self.model.streams):
            raise ConfigError(f"model.streams: {','.join(self.model.streams)}; name each once")
        if not self.model.streams:
            raise ConfigError("model.streams: empty; name rgb, flow or both")
        unknown = set(self.model.weights) - {*self.model.streams, "two_stream"}
        if unknown:
            raise ConfigError(f"model.weights: {', '.join(sorted(unknown))} is not among model.streams")
        if self.ingest.flow.scaleStep >= 1:
            raise ConfigError(f"ingest.flow.scaleStep: {self.ingest.flow.scaleStep} must be below 1")
        if self.clips.frames % self.clips.rgb_every:
            raise ConfigError(
                f"clips.rgb_every: {self.clips.rgb_every} must divide clips.frames, which is {self.clips.frames}"
            )
        if self.clips.crop > (self.clips.short_side or self.ingest.short_side):
            raise ConfigError(
                f"clips.crop: {self.clips.crop} pixels do not fit into the shorter side of "
                f"{self.clips.short_side or self.ingest.short_side} (clips.short_side, ingest.short_side)"
            )

    @property
    def clips_of_a_step(self) -> int:
        """The global batch."""
        training = self.training
        if training.clips_per_step is not None:
            return training.clips_per_step
        return training.batch_size * training.accumulate * self.resources.number_of_workers

    def resolved(self, working_directory: Path | None = None) -> Self:
        """The same tree with every local path absolute, for workers that run in another working directory."""
        base = working_directory or Path.cwd()
        storage = absolute(self.storage, base)
        if "://" in storage and not self.tracking.uri:
            raise ConfigError(f"tracking.uri: empty, and SQLite cannot lie in {storage}; give the URI of a server")
        return dataclasses.replace(
            self,
            storage=storage,
            catalog=dataclasses.replace(
                self.catalog,
                videos=absolute(self.catalog.videos, base)
                or (f"{storage}/videos/motion_shapes" if self.catalog.dataset == "motion_shapes" else ""),
                annotations={split: absolute(path, base) for split, path in self.catalog.annotations.items()},
                archives={split: absolute(path, base) for split, path in self.catalog.archives.items()},
                groups=absolute(self.catalog.groups, base),
            ),
            model=dataclasses.replace(
                self.model,
                weights={stream: _weights(path, base) for stream, path in self.model.weights.items()},
                inflate=absolute(self.model.inflate, base) if _is_path(self.model.inflate) else self.model.inflate,
            ),
            ingest=dataclasses.replace(
                self.ingest,
                shards=absolute(self.ingest.shards, base) or f"{storage}/shards/{self.catalog.name}",
            ),
            tracking=dataclasses.replace(
                self.tracking,
                uri=_absolute_sqlite(self.tracking.uri, base) or f"sqlite:///{storage}/mlflow.db",
            ),
        )


@dataclass(frozen=True, kw_only=True, config=_checked)
class SweepConfig:
    """A search over temporal depth x stride x resolution, on shards that are there."""

    base: Config = field(default_factory=Config)
    """What every trial has in common."""
    stream: Stream = "flow"
    """Stream whose network is searched."""
    frames: tuple[PositiveInt, ...] = (16, 32, 64)
    """Temporal depths."""
    strides: tuple[PositiveInt, ...] = (1, 2)
    """Temporal strides."""
    crops: tuple[PositiveInt, ...] = (112, 224)
    """Resolutions: sides of the crop in pixels."""
    concurrent: PositiveInt = 2
    """Trials at a time."""
    grace_epochs: PositiveInt = 1
    """Epochs that every trial runs before it may be stopped."""
    reduction: PositiveInt = 2
    """ASHA goes on with the best 1 / reduction of the trials at each rung."""

    def __post_init__(self) -> None:
        side = self.base.clips.short_side or self.base.ingest.short_side
        for name in ("frames", "strides", "crops"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ConfigError(
                    f"{name}: {','.join(map(str, values)) or 'empty'}; give different values, at least one"
                )
        if max(self.crops) > side:
            raise ConfigError(f"crops: {max(self.crops)} pixels do not fit into a shorter side of {side}")
        if self.reduction < 2:
            raise ConfigError(f"reduction: {self.reduction} must be at least 2")

    def resolved(self, working_directory: Path | None = None) -> Self:
        """See `Config.resolved`."""
        return dataclasses.replace(self, base=self.base.resolved(working_directory))


def absolute(path: str, base: Path) -> str:
    """A local path made absolute against `base`; URIs and the empty string stay."""
    return path if not path or "://" in path else str((base / Path(path).expanduser()).resolve())


def _number(field: str, value: float | str) -> float:
    if isinstance(value, str):
        raise ConfigError(f"resources.{field}: {value} is not made a number yet; connect to the cluster first")
    return value


def _is_path(weights: str) -> bool:
    """A file, rather than the name of one of torchvision's networks."""
    return "/" in weights or "." in weights


def _weights(given: str, base: Path) -> str:
    """The name of a published file as it is, a path absolute."""
    return absolute(given, base) if _is_path(given) or (base / given).exists() else given


def _absolute_sqlite(uri: str, base: Path) -> str:
    prefix = "sqlite:///"
    return prefix + absolute(uri.removeprefix(prefix), base) if uri.startswith(prefix) else uri


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def to_dict(config: Any) -> dict[str, Any]:
    """The tree as plain dicts, lists and scalars, ready for YAML or JSON."""
    plain = dataclasses.asdict(config)
    return TypeAdapter(dict[str, Any]).dump_python(plain, mode="json")


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """A config tree of the given kind from nested dicts.

    Raises:
        ConfigError: one line with the dotted names of the wrong fields and what would be right.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except PydanticValidationError as error:
        raise ConfigError("; ".join(dict.fromkeys(_one_line(kind, each) for each in error.errors()))) from None


def stored(kind: type[T], values: Mapping[str, Any], file: object, version: str) -> T:
    """A config tree that a file holds, which another version may have written.

    Args:
        kind: class of the tree.
        values: nested dicts.
        file: it is named where a field is wrong.
        version: that wrote it; empty where it does not say so.

    Raises:
        ConfigError: one line with all wrong fields, the file, and the versions.
    """
    try:
        return from_dict(kind, values)
    except ConfigError as error:
        wrote = f"version {version}" if version else "an unknown version"
        raise ConfigError(f"{error} (in {file}, written by {wrote}; this is {VERSION})") from None


def check_values(kind: type, values: Mapping[str, Any]) -> None:
    """Check every field by itself; whether they hold together is not looked at.

    Raises:
        ConfigError: see `from_dict`.
    """
    try:
        TypeAdapter(kind).validate_python(dict(values))
    except PydanticValidationError as error:
        wrong = [each for each in error.errors() if each["type"] != "value_error"]
        if wrong:
            raise ConfigError(_one_line(kind, wrong[0])) from None


def save(config: Any, path: Path) -> None:
    """Write the tree as YAML, to be read again by `load` or `--config`; passwords in addresses are not written."""
    path.write_text(yaml_text(masked(to_dict(config))))


def yaml_text(values: Mapping[str, Any]) -> str:
    """Plain values of a tree as YAML, with a comment that names the version."""
    return f"{yaml.safe_dump(dict(values), sort_keys=False)}{_WRITTEN_BY}{VERSION}\n"


def load(kind: type[T], path: Path, flag: str = "") -> T:
    """Read a tree that `save` wrote.

    Args:
        kind: class of the tree.
        path: the path of the file.
        flag: by which the user named it, such as --config; empty where it was found otherwise.

    Raises:
        ConfigError: the file is missing, is not YAML, or names fields or values that do not exist.
    """
    file = f"{flag} {path}".strip()
    try:
        text = path.read_text()
        values = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected a mapping of fields, found {type(values).__name__}")
    _, _, version = text.rpartition(_WRITTEN_BY)
    return stored(kind, values, file, version.strip() if _WRITTEN_BY in text else "")


def nearest(name: str, names: list[str]) -> str:
    """A hint that names the nearest right name, or all of them where none is near."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(names)}"


def _one_line(kind: type, error: Any) -> str:
    *parents, last = [str(part) for part in error["loc"]] or [""]
    number_or_auto = parents and _MEMBER.fullmatch(last)
    if number_or_auto:
        *parents, last = parents
    if error["type"] == "unexpected_keyword_argument":
        for parent in parents:
            kind = next((f.type for f in dataclasses.fields(kind) if f.name == parent), kind)  # type: ignore[assignment]
        return (
            f"{'.'.join([*parents, last])}: no such field; {nearest(last, [f.name for f in dataclasses.fields(kind)])}"
        )
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error.get("ctx", {}).get("error"), ConfigError):
        return ".".join([*parents, *([last] if last else []), message])
    if error["type"] == "value_error" and not parents and not last:
        return message
    hint = ""
    if number_or_auto:
        message, hint = message[:1].lower() + message[1:], ", or auto"
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        choices = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        hint = f" ({nearest(error['input'], choices)})"
    return f"{'.'.join([*parents, last])}: {error['input']!r}: {message}{hint}"
