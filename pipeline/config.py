"""The typed configuration tree: one frozen dataclass per concern, validated when it is created.

A recipe (`pipeline.recipes`) returns a whole `Config`; the command line (`pipeline.command_line`) changes single fields
by their dotted names. The resolved tree is logged with every run and is enough to repeat the run. The string below a
field is its documentation, which `--help` shows.
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

from pipeline import plain_yaml
from pipeline.masking import masked
from pipeline.sqlite import address_of, file_of, with_file

T = TypeVar("T")
Stream = Literal["rgb", "flow"]
Auto = Literal["auto"]
Dataset = Literal[
    "kinetics400", "kinetics600", "kinetics700", "kinetics700_2020", "ucf101", "hmdb51",
    "activitynet",
    "youtube8m", "youtube8m_segments", "folder", "rawframes", "webdataset", "motion_shapes",
]  # fmt: skip

_MEMBER = re.compile(r"constrained-\w+|literal\[.*\]")  # pydantic's name of a union member, which follows the field
VERSION = "0.1.0"  # version of this package
_WRITTEN_BY = "# written by video-action-pipeline "  # followed by the version; the last line of a saved config
_checked = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True)


class ConfigError(ValueError):
    """An unknown field or an invalid value; the message is one line, written for the user."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class MotionShapesConfig:
    """The rendered data set of moving shapes; by default, 8 classes that differ in their motion alone."""

    classes: Literal["motions", "other_motions", "slow_motions", "patterns"] = "motions"
    """motions: 8 motions; other_motions: 8 others (diagonals and spirals); slow_motions: the first 8 at a sixth of
    their speed; patterns: 5 textures of the shapes, whose motion is then random."""
    train: PositiveInt = 50
    """Training clips per class."""
    val: PositiveInt = 10
    """Validation clips per class."""
    test: PositiveInt = 20
    """Test clips per class."""
    frames: PositiveInt = 32
    """Frames per clip, at 25 frames per second."""
    size: PositiveInt = 64
    """Height and width in pixels."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class CatalogConfig:
    """The data set, its files and its splits."""

    dataset: Dataset = "kinetics400"
    """The data set, which decides how the annotation files are read."""
    annotations: dict[str, str] = field(default_factory=dict)
    """Kinetics: the CSV of each split, as --catalog.annotations.train FILE. UCF-101, HMDB-51: the folder of split
    files, as --catalog.annotations.splits FOLDER. ActivityNet: its JSON, as --catalog.annotations.json FILE. rawframes:
    the list of each split, and classes, the file of class names. YouTube-8M: the records of each split; also ids, the
    file that keeps the YouTube ids found, and lookup, the URL that they are requested from."""
    frames_fps: PositiveInt = 25
    """rawframes: frames per second at which the JPEGs were extracted from their videos."""
    split_number: Literal[1, 2, 3, "all"] = 1
    """UCF-101, HMDB-51: number of the published split to use, of three; all: ingest the clips once, and train and test
    on each split in turn."""
    videos: str = ""
    """Folder of the video files, or for Kinetics and ActivityNet the address of one (s3://, https://); motion_shapes:
    the folder to render into. Kinetics, ActivityNet and YouTube-8M: leave it empty to fetch the videos from YouTube."""
    archives: dict[str, str] = field(default_factory=dict)
    """Kinetics: archives of each split, as --catalog.archives.train WHERE: a .tar.gz, a folder of them, an s3://
    prefix, or a list (.txt) of paths or addresses. Members of --catalog.archives.replacements WHERE override those of
    the same name. webdataset: the same, without replacements."""
    label: str = "auto"
    """webdataset: the member that holds the label of each clip: cls, txt, or json:KEY; auto takes the first of cls,
    json:label and txt that every clip has."""
    groups: str = ""
    """folder: a CSV or TSV with columns file and group; clips of one group show one source and stay on one side of the
    split; empty for none."""
    fold: str = ""
    """folder: the fold to use as the test split: its value in the fold column of catalog.groups, or COLUMN=VALUE; all:
    ingest the clips once, and train and test on each fold in turn; empty for none."""
    split_seed: NonNegativeInt = 0
    """folder, webdataset: seed of the random split, which is drawn if there are clips of train alone."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """folder, webdataset: share of the clips to draw for validation; 0 for none."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """folder, webdataset: share of the clips to draw for the test; 0 to test on the validation clips."""
    splits: tuple[str, ...] = ()
    """Splits to use; empty for all."""
    limit: PositiveInt | None = None
    """Largest number of clips per split, taken evenly over the list; none for all."""
    motion_shapes: MotionShapesConfig = field(default_factory=MotionShapesConfig)
    """Only for motion_shapes: what to render."""

    def __post_init__(self) -> None:
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"val_fraction: {self.val_fraction:g} and test_fraction {self.test_fraction:g} leave no training clip"
            )
        if not re.fullmatch(r"auto|cls|txt|json:.+", self.label):
            raise ConfigError(f"label: {self.label}; give auto, cls, txt or json:KEY")
        if self.split_number == "all" and self.dataset not in ("ucf101", "hmdb51"):
            raise ConfigError(f"split_number: all is for ucf101 and hmdb51; {self.dataset} has no three splits")
        if (self.groups or self.fold) and self.dataset != "folder":
            raise ConfigError(f"groups: for --catalog.dataset folder; {self.dataset} has splits of its own")

    @property
    def in_turn(self) -> bool:
        """Whether all splits or folds are wanted, over clips that are ingested once."""
        return self.split_number == "all" or self.fold.rpartition("=")[2] == "all"

    @property
    def name(self) -> str:
        """Name of the shard set: the data set, with the split number if it has one of several splits."""
        if self.dataset not in ("ucf101", "hmdb51") or self.split_number == "all":
            return self.dataset
        return f"{self.dataset}_split{self.split_number}"


@dataclass(frozen=True, kw_only=True, config=_checked)
class FlowConfig:
    """TV-L1 optical flow; the parameters have OpenCV's names and default values."""

    backend: Literal["auto", "opencv", "cpu", "cuda", "stored"] = "auto"
    """The implementation; every row records it, and one shard set never mixes two. stored, for rawframes: none, flow is
    that of the flow_x and flow_y pictures beside the frames, whose bound is then `bound`."""
    tau: PositiveFloat = 0.25
    """Time step of the numerical scheme."""
    lambda_: PositiveFloat = 0.15
    """Weight of the data term; smaller values give smoother flow."""
    theta: PositiveFloat = 0.3
    """Tightness of the coupling between the data term and the smoothness term."""
    nscales: PositiveInt = 5
    """Number of scales of the image pyramid."""
    warps: PositiveInt = 5
    """Warps per scale."""
    epsilon: PositiveFloat = 0.01
    """Stopping criterion; smaller values are more exact and slower."""
    innerIterations: PositiveInt = 30  # noqa: N815
    """Inner iterations per warp."""
    outerIterations: PositiveInt = 10  # noqa: N815
    """Outer iterations per warp; each ends with a median filter."""
    scaleStep: PositiveFloat = 0.8  # noqa: N815
    """Size ratio of neighbouring pyramid scales, below 1."""
    gamma: NonNegativeFloat = 0.0
    """Weight of the illumination term."""
    medianFiltering: Literal[1, 3, 5] = 5  # noqa: N815
    """Side of the median filter in pixels; 1 for none."""
    bound: PositiveFloat = 20.0
    """Displacements are clipped to [-bound, bound] pixels and quantised to 8 bits (I3D: 20)."""

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters of TV-L1 itself: all fields except `backend` and `bound`."""
        names = [each.name for each in dataclasses.fields(self) if each.name not in ("backend", "bound")]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True, config=_checked)
class FetchConfig:
    """How videos are fetched from elsewhere: archives, http(s), object stores, YouTube."""

    timeout_s: PositiveFloat = 30.0
    """Seconds without a byte after which a transfer counts as stalled and is tried again."""
    tries: PositiveInt = 5
    """Attempts at one transfer if the error may be temporary; the pause between them is one second at first and then
    doubles."""
    max_mib: PositiveInt = 2048
    """Largest file or archive member accepted, in MiB."""
    max_archive_gib: PositiveFloat = 1024.0
    """Largest archive read, in GiB, packed or unpacked: an archive without an end stops there."""
    youtube_height: PositiveInt = 360
    """YouTube: largest height to fetch, in pixels."""
    youtube_per_hour: PositiveFloat = 240.0
    """YouTube: videos requested per hour through each egress address, over the whole cluster."""
    youtube_pause_s: PositiveFloat = 3600.0
    """YouTube: seconds without requests through an egress address after YouTube refused one (429, bot check); doubled
    after each further refusal."""
    youtube_cookies: str = ""
    """YouTube: cookie file in Netscape format; empty for none."""
    youtube_proxies: tuple[str, ...] = ()
    """YouTube: proxies to use in turn; each counts as one egress address; empty for none."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class IngestConfig:
    """From catalog rows to Parquet shards."""

    shards: str = ""
    """Folder of the shard set; empty for STORAGE/shards/DATASET."""
    streams: tuple[Stream, ...] = ("rgb", "flow")
    """Streams to store; rgb alone skips the computation of flow."""
    short_side: PositiveInt = 256
    """Shorter side of the stored clips in pixels (I3D: 256)."""
    fps: PositiveInt = 25
    """Constant frame rate of the stored clips, in frames per second (I3D: 25)."""
    crf: NonNegativeInt = 20
    """H.264 quality (CRF) to try first; smaller values give better quality and larger files."""
    min_psnr: NonNegativeFloat = 36.0
    """Lowest PSNR allowed for the worst frame of a stored clip, in dB; below it the clip is encoded again at a higher
    quality."""
    gop: PositiveInt = 12
    """Frames from one key frame to the next; larger values make random access decode more frames that are then
    discarded."""
    clips_per_shard: PositiveInt = 64
    """Clips per Parquet file."""
    max_seconds: PositiveFloat = 300.0
    """Longest clip accepted, in seconds; the last frame of a source is shown no longer than that either."""
    decode_timeout_s: PositiveFloat = 120.0
    """Longest time for decoding one clip, in seconds; after it the process is killed and the clip counts as failed. A
    clip of more than 300 s gets more time in proportion."""
    memory_gib: PositiveFloat = 2.0
    """Largest memory in GiB that the work on one clip may take, without what a worker takes at its start. A clip whose
    pictures need more counts as failed (TooLarge) before it takes it; its length does not matter."""
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest share of clips that may fail, from 0 to 1. If more fail, the set is complete with the others, but the job
    ends with an error. A copy of Kinetics that lacked 5 % of its clips cost less than half a percent of accuracy."""
    allow_leaks: bool = False
    """Whether two splits of one set may hold clips of the same video, or the same pictures."""
    fetch: FetchConfig = field(default_factory=FetchConfig)
    """How videos are fetched from elsewhere."""
    flow: FlowConfig = field(default_factory=FlowConfig)
    """How flow is computed."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class ClipsConfig:
    """From stored clips to training windows (I3D: 64 frames, short side 256, random 224 crop, flip)."""

    frames: PositiveInt = 64
    """Temporal depth: frames per window."""
    stride: PositiveInt = 1
    """Step from one frame of the window to the next, in stored frames."""
    segments: PositiveInt = 1
    """Windows of each clip in a training step, one from each of as many equal parts of the clip; the loss is that of
    the mean of their logits (Temporal Segment Networks: 3). 1 for one window."""
    short_side: PositiveInt | None = None
    """Shorter side, in pixels, to which windows are resized before the crop; none keeps the stored size."""
    crop: PositiveInt = 224
    """Side of the square crop in pixels; the crop is random in training and central in evaluation."""
    augment: Literal["random_crop", "corner_crop", "multi_scale_corner_crop"] = "random_crop"
    """Places of the training crops. random_crop: anywhere (I3D); corner_crop: the four corners and the centre (T3D);
    multi_scale_corner_crop: these at five scales (3D ResNets)."""
    rgb_every: PositiveInt = 1
    """Networks that take both streams at once: flow frames for each RGB frame, which is the middle one of them (Quo
    Vadis: 10)."""
    flip: bool = True
    """Mirror half of the training windows at random; mirroring negates the x component of flow."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class ModelConfig:
    """The network of each stream."""

    name: str = "i3d"
    """A name from `pipeline.models.list_models()`."""
    streams: tuple[Stream, ...] = ("rgb", "flow")
    """Streams to train, one network for each; evaluation averages their logits."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of features dropped in training, if the network has dropout."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further keyword options of the network, as --model.options.NAME VALUE."""
    levels: Literal["signed", "activitynet", "imagenet", "kinetics"] = "signed"
    """Range of the RGB input. signed: -1 to 1 (I3D); activitynet: 0 to 255 minus the mean of ActivityNet (3D ResNets);
    imagenet, kinetics (torchvision): 0 to 1 minus the mean of that data set, divided by its standard deviation. Flow
    is always from -1 to 1."""
    weights: dict[str, str] = field(default_factory=dict)
    """Weights to start from, as --model.weights.rgb PATH (or flow; two_stream for a network that takes both streams):
    a run or its name (its best checkpoint is used), a checkpoint, a state dict, a published file, or the name of one
    to download (r3d_18). If the classes differ, the classifier is new; if only their order differs, it is kept."""
    inflate: str = ""
    """2D ImageNet weights to inflate: a torchvision file, or its name (googlenet, resnet50) to download it; empty for
    none."""
    fine_tune: Literal["none", "original", "fixed", "full", "last_block"] = "none"
    """Which layers to train on a new data set (I3D, Table 4). original: all, without model.weights; fixed: a new
    classifier on frozen features; full: all, with a new classifier; last_block: conv5_x and a new classifier (3D
    ResNets). none: no transfer; training continues from model.weights, if they are given."""

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
    """Momentum of SGD, or first beta of AdamW."""
    dampening: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """SGD: share of each gradient that does not enter the momentum (3D ResNets: 0.9, the behaviour of Torch7)."""
    nesterov: bool = False
    """SGD: use Nesterov momentum (T3D)."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Second beta of AdamW."""
    weight_decay: NonNegativeFloat = 1e-7
    """Weight decay."""

    def __post_init__(self) -> None:
        if self.nesterov and (self.dampening or not self.momentum):
            raise ConfigError("nesterov: needs momentum above 0 and dampening 0")


@dataclass(frozen=True, kw_only=True, config=_checked)
class ScheduleConfig:
    """The learning rate over time; by default it is divided when the validation loss stops falling (I3D: by 10)."""

    name: Literal["plateau", "step", "cosine"] = "plateau"
    """When the learning rate falls. plateau: when the validation loss, summed over all workers, stops falling; step: at
    the milestones; cosine: along half a cosine wave from the first step after the warmup to the last step."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The learning rate is multiplied by this on a plateau or at a milestone."""
    patience: NonNegativeInt = 3
    """plateau: epochs without a better validation loss before the learning rate falls."""
    milestones: tuple[PositiveInt, ...] = ()
    """step: the epochs or steps, counted from the start, at which the learning rate changes."""
    unit: Literal["epochs", "steps"] = "epochs"
    """step: unit of the milestones."""
    rates: tuple[PositiveFloat, ...] = ()
    """step: the learning rate from each milestone on; empty to multiply by factor at each."""
    min_lr: NonNegativeFloat = 0.0
    """plateau: lower limit of the learning rate; cosine: its final value."""
    stop_lr: NonNegativeFloat = 0.0
    """Training ends when the learning rate has fallen below this; 0 runs all epochs."""
    warmup_steps: NonNegativeInt = 0
    """Steps at the start over which the learning rate rises linearly from 0."""

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError(f"milestones: {','.join(map(str, self.milestones))} must rise")
        if (self.name == "step") != bool(self.milestones):
            raise ConfigError(f"milestones: needed for step and for nothing else, and the schedule is {self.name}")
        if self.rates and len(self.rates) != len(self.milestones):
            raise ConfigError(f"rates: {len(self.rates)} for {len(self.milestones)} milestones; give one for each")


@dataclass(frozen=True, kw_only=True, config=_checked)
class TrainingConfig:
    """Training length, batch sizes, regularisation and precision."""

    epochs: PositiveInt = 40
    """Passes over the training split."""
    steps: PositiveInt | None = None
    """Stop after this many optimiser steps even if epochs are left; none for no limit."""
    batch_size: PositiveInt = 6
    """Clips per forward pass of one worker (I3D: 6)."""
    clips_per_step: PositiveInt | None = None
    """Clips per optimiser step, over all workers. accumulate is then computed, so that a step is the same on any
    machine. none: a step has batch_size x accumulate x resources.workers clips."""
    accumulate: PositiveInt = 1
    """Forward passes of each worker whose gradients are combined in one step; more than 1 for steps that do not fit
    into memory at once."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """bf16: bf16 autocast; auto: bf16 on GPUs, fp32 on CPUs; fp32: full precision, on GPUs too; tf32: GPUs multiply
    with 10 mantissa bits."""
    compile: bool = False
    """Compile the network for training with torch.compile. This takes minutes at the start; measure whether it pays."""
    clip_gradient: PositiveFloat | None = None
    """Largest norm of the gradient; none for no limit."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread over all classes."""
    mixup: NonNegativeFloat = 0.0
    """Mix pairs of clips and of their labels, in shares drawn from Beta(mixup, mixup); 0 for none."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of the moving average of the weights (EMA); the average is then evaluated instead of the weights;
    0 for none."""
    sync_batch_norm: bool = False
    """Compute batch norm statistics of a step over all workers, not on each worker alone; GPUs only."""
    precise_batch_norm: NonNegativeInt = 0
    """Batches per worker on which batch norm statistics are computed again before every evaluation; 0 for none."""
    train_split: str = "train"
    """Split to train on."""
    train_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the clips of each class of train_split to train on, chosen by the seed (T3D's FT-Transfer: half of
    Kinetics); validation and test keep all clips."""
    val_split: str = "val"
    """Split of the validation loss, which controls a plateau schedule and chooses the best checkpoint."""
    checkpoint_steps: PositiveInt | None = None
    """Optimiser steps between checkpoints inside an epoch; none to write one at the end of each epoch only."""
    keep: Literal["best", "last"] = "best"
    """Checkpoint to evaluate and register. best: that with the lowest validation loss; last: that of the last epoch,
    for data sets without a validation split, where val_split is the test split."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class EvaluationConfig:
    """The test: which views of a clip are scored, and how their scores are averaged."""

    split: str = "val"
    """Split on which the reported accuracy is measured; auto: test if there is one, otherwise training.val_split. The
    Kinetics test lists have no labels."""
    protocol: Literal["auto", "i3d", "lstm", "c3d", "two_stream", "t3d", "resnet3d", "tsn", "views"] = "auto"
    """Published test protocol, which says what views of a clip are scored. i3d, lstm: the whole clip; c3d, t3d:
    consecutive windows; resnet3d: the same and the incomplete last window, with softmax averaged; two_stream: 25
    snapshots; views: see evaluation.views and evaluation.crops; tsn: the same with a window from the middle of each of
    so many equal parts of the clip, and logits averaged; auto: the protocol of the network's paper."""
    frames: PositiveInt | None = None
    """i3d: frames of the central test window; none for the whole clip."""
    views: PositiveInt = 10
    """views, tsn: number of windows of clips.frames frames, spread evenly over the clip."""
    crops: Literal[1, 3, 5, 10] = 3
    """views, tsn: crops of each window. 1: the centre; 3: both ends and the middle of the longer side; 5: the corners
    and the centre; 10: these five and their mirror images."""
    val_frames: PositiveInt | None = 64
    """Frames of the central window that is scored in the validation after every epoch; none for the whole clip."""
    batch_size: PositiveInt = 4
    """Views per forward pass; if a clip has one view, this is the number of clips."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class ResourcesConfig:
    """How much of the cluster a job uses, and how it handles failures."""

    workers: PositiveInt | Auto = "auto"
    """Training workers (DDP ranks); auto: one on each GPU, or one on each node if there is no GPU."""
    min_workers: PositiveInt | None = None
    """Smallest number of workers to train with if there is no room for all; each then does a larger part of the same
    steps. none: always train with all workers."""
    gpu: Literal["auto", "yes", "no"] = "auto"
    """Train on GPUs; auto: yes if the cluster has one for each worker."""
    worker_cpus: PositiveFloat | Auto = "auto"
    """CPUs reserved for a training worker; the other CPUs of the cluster decode clips. A worker without a GPU computes
    on this many threads. auto: one if the worker has a GPU, otherwise what one loader leaves of a node."""
    loader_cpus: PositiveFloat | Auto = "auto"
    """CPUs reserved for a task that decodes one batch; auto: one if there are GPUs and at least twice as many CPUs,
    otherwise 0.25 or less."""
    ingest_cpus: PositiveFloat = 1.0
    """CPUs reserved for a task that ingests one clip."""
    flow_gpu_gib: PositiveFloat = 8.0
    """GPU memory, in GiB, that TV-L1 may use for a batch of frame pairs."""
    max_failures: Annotated[int, Field(ge=-1)] = 2
    """Restarts of the training workers from the last checkpoint before the run fails; -1 for no limit."""
    wait_minutes: NonNegativeFloat = 30.0
    """Minutes in total that a training waits for room for its workers, or for min_workers of them, for example after
    the loss of a node. Any job that joins a cluster which is too small for it waits as long for more machines,
    and a trial of an experiment for an MLflow server that does not answer."""

    def __post_init__(self) -> None:
        if self.min_workers is not None and self.workers != "auto" and self.min_workers > self.workers:
            raise ConfigError(f"min_workers: {self.min_workers} is more than workers, which is {self.workers}")

    @property
    def number_of_workers(self) -> int:
        """`workers` as a number; an error while it is still `auto`, which `pipeline.cluster.connect` replaces."""
        return int(_number("workers", self.workers))

    @property
    def least_workers(self) -> int:
        """The smallest number of workers that a training can run with."""
        return self.number_of_workers if self.min_workers is None else self.min_workers

    @property
    def cpus_of_a_worker(self) -> float:
        """`worker_cpus` as a number; an error while it is still `auto`."""
        return _number("worker_cpus", self.worker_cpus)

    @property
    def cpus_of_a_loader(self) -> float:
        """`loader_cpus` as a number; an error while it is still `auto`."""
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
    """Seconds between progress lines of a training, and between points of its curves over optimiser steps."""
    every_steps: PositiveInt | None = None
    """Optimiser steps between these lines and points, instead of seconds; none to use every_s."""


@dataclass(frozen=True, kw_only=True, config=_checked)
class Config:
    """All settings of one training, from the list of clips to the registered model."""

    name: str = ""
    """Name of the run, which must be new; empty for EXPERIMENT-TIME and a random suffix."""
    recipe: str = ""
    """Name of the recipe from which the other fields come; --recipe sets it."""
    resume: str = ""
    """Name of an interrupted run to continue with its own config; only the learning rate, the resources, and how the
    clips of a step are divided into batches may change."""
    retry: tuple[str, ...] = ()
    """Error classes whose failed clips ingest tries again: names of classes, retryable, or all; any other failure is
    final."""
    storage: str = "outputs"
    """Folder (or URI) of shards, checkpoints and, unless tracking.uri is set, MLflow."""
    seed: NonNegativeInt = 0
    """Seed of the initial weights, windows, crops and clip order."""
    allow_other_data: bool = False
    """Whether --resume may continue on a shard set with another digest than before; its classes must be the same."""
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    """The data set, its files and its splits."""
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
    """Training length, batch sizes, regularisation and precision."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """The test: which views of a clip are scored, and how their scores are averaged."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """How much of the cluster a job uses, and how it handles failures."""
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
        """Clips per optimiser step over all workers: the global batch size."""
        training = self.training
        if training.clips_per_step is not None:
            return training.clips_per_step
        return training.batch_size * training.accumulate * self.resources.number_of_workers

    def resolved(self, working_directory: Path | None = None) -> Self:
        """Return the tree with every local path made absolute, for workers that run in another working directory.

        Raises:
            ConfigError: `storage` is a URI and `tracking.uri` is empty.
        """
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
                weights={stream: weights_path(path, base) for stream, path in self.model.weights.items()},
                inflate=absolute(self.model.inflate, base) if is_path(self.model.inflate) else self.model.inflate,
            ),
            ingest=dataclasses.replace(
                self.ingest,
                shards=absolute(self.ingest.shards, base) or f"{storage}/shards/{self.catalog.name}",
                fetch=dataclasses.replace(
                    self.ingest.fetch, youtube_cookies=absolute(self.ingest.fetch.youtube_cookies, base)
                ),
            ),
            tracking=dataclasses.replace(
                self.tracking,
                uri=_absolute_sqlite(self.tracking.uri, base) or address_of(f"{storage}/mlflow.db"),
            ),
        )


@dataclass(frozen=True, kw_only=True, config=_checked)
class SweepConfig:
    """A search over any fields of a config, on shard sets that exist already."""

    base: Config = field(default_factory=Config)
    """The config that all trials share; base.name is the name of the sweep, and the same name continues it. Empty for
    a name that follows from everything else, so that the same command continues."""
    axes: dict[str, str] = field(default_factory=dict)
    """Fields to vary, as --axes.clips.frames 16,32,64 or, for a sampler that draws, --axes.optimiser.lr
    "loguniform(1e-4,1e-1)", "uniform(a,b)" or "randint(a,b)". Values that hold commas have ; between them. An empty
    value removes an axis of the recipe."""
    over: tuple[str, ...] = ("seed",)
    """Axes over which the mean and its spread are taken, such as catalog.fold; the seed is always one of them."""
    sampler: Literal["grid", "random", "tpe", "gp"] = "grid"
    """grid: every combination of the values; random: combinations drawn by base.seed; tpe, gp: Optuna's."""
    points: PositiveInt = 16
    """Combinations that a sampler other than grid draws; each is trained with every value of the axes in over."""
    budget: Literal["steps", "gmacs"] = "steps"
    """What all trials have in common. steps: the optimiser steps of the base config; gmacs: its multiply-adds, so that
    a trial with cheaper clips makes more steps."""
    scheduler: Literal["none", "asha"] = "none"
    """none: train all trials to the end; asha: stop those that fall behind in validation accuracy. It compares the
    first repeat of each combination (seed, fold); the others are trained, to the end, if that one was not stopped."""
    concurrent: PositiveInt = 2
    """Trials that run at the same time."""
    grace_epochs: PositiveInt = 1
    """Epochs that every trial runs before ASHA may stop it."""
    reduction: Annotated[int, Field(ge=2)] = 2
    """ASHA continues the best 1 / reduction of the trials at each rung and stops the others."""
    test: Literal["best", "all", "none"] = "best"
    """Trials to test under base.evaluation.protocol: those of the combination that is best in validation, all that
    were trained to the end, or none."""
    fail_if_any: bool = False
    """End with an error if any trial failed; otherwise only if none succeeded."""

    register: bool = False
    """Register the network of the best trial as base.tracking.registered_model: the checkpoint that it kept, which is
    tested again and not trained again."""

    def __post_init__(self) -> None:
        if self.register and not self.base.tracking.registered_model:
            raise ConfigError("register: base.tracking.registered_model is empty; give the name of the model")
        if self.budget == "gmacs" and self.scheduler == "asha":
            raise ConfigError("budget: gmacs gives trials different steps, which ASHA cannot compare; --scheduler none")
        if self.scheduler == "asha" and len(self.base.model.streams) > 1:
            streams = ",".join(self.base.model.streams)
            raise ConfigError(
                f"scheduler: asha compares one network of each trial, and base.model.streams is {streams}; "
                "--base.model.streams rgb trains one, --scheduler none takes both"
            )

    def resolved(self, working_directory: Path | None = None) -> Self:
        """See `Config.resolved`."""
        return dataclasses.replace(self, base=self.base.resolved(working_directory))


def absolute(path: str, base: Path) -> str:
    """Make a local path absolute, relative to `base`; return URIs and the empty string unchanged."""
    return path if not path or "://" in path else str((base / Path(path).expanduser()).resolve())


def _number(field: str, value: float | str) -> float:
    if isinstance(value, str):
        raise ConfigError(f"resources.{field}: {value} is not made a number yet; connect to the cluster first")
    return value


def is_path(weights: str) -> bool:
    """Return whether weights are given as a path, and not as the name of a published file."""
    return "/" in weights or "." in weights


def weights_path(given: str, base: Path) -> str:
    """Make a path of weights absolute; return the name of a published file unchanged."""
    return absolute(given, base) if is_path(given) or (base / given).exists() else given


def _absolute_sqlite(uri: str, base: Path) -> str:
    file = file_of(uri)
    return uri if file is None else with_file(uri, absolute(file, base))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into one dict with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def to_dict(config: Any) -> dict[str, Any]:
    """Turn the tree into plain dicts, lists and scalars, ready for YAML or JSON."""
    plain = dataclasses.asdict(config)
    return TypeAdapter(dict[str, Any]).dump_python(plain, mode="json")


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a config tree of the given class from nested dicts.

    Raises:
        ConfigError: a field is unknown or a value is invalid. The message is one line with the dotted names of the
            wrong fields and what would be right.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except PydanticValidationError as error:
        raise ConfigError("; ".join(dict.fromkeys(_one_line(kind, each) for each in error.errors()))) from None


def stored(kind: type[T], values: Mapping[str, Any], file: object, version: str) -> T:
    """Make a config tree from the contents of a file that another version may have written.

    Args:
        kind: class of the tree.
        values: nested dicts.
        file: name of the file, for error messages.
        version: version that wrote the file; empty if unknown.

    Raises:
        ConfigError: a field is wrong. The message is one line with all wrong fields, the file, and the versions.
    """
    try:
        return from_dict(kind, values)
    except ConfigError as error:
        wrote = f"version {version}" if version else "an unknown version"
        raise ConfigError(f"{error} (in {file}, written by {wrote}; this is {VERSION})") from None


def check_values(kind: type, values: Mapping[str, Any]) -> None:
    """Check every field by itself, without the checks that compare several fields.

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
    """Write the tree as YAML for `load` and `--config`, with passwords in addresses masked."""
    path.write_text(yaml_text(masked(to_dict(config))))


def yaml_text(values: Mapping[str, Any]) -> str:
    """Format plain values of a tree as YAML, with a comment that names the version."""
    return f"{yaml.safe_dump(dict(values), sort_keys=False)}{_WRITTEN_BY}{VERSION}\n"


def load(kind: type[T], path: Path, flag: str = "") -> T:
    """Read a tree that `save` wrote.

    Args:
        kind: class of the tree.
        path: path of the file.
        flag: option with which the user named the file, such as --config, for error messages; empty if there was none.

    Raises:
        ConfigError: the file is missing, is not YAML, or names fields or values that do not exist.
    """
    file = f"{flag} {path}".strip()
    try:
        with path.open() as opened:
            text = opened.read(plain_yaml.MOST + 1)
        values = plain_yaml.parse(text)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected a mapping of fields, found {type(values).__name__}")
    _, _, version = text.rpartition(_WRITTEN_BY)
    return stored(kind, values, file, version.strip() if _WRITTEN_BY in text else "")


def nearest(name: str, names: list[str]) -> str:
    """Return a hint with the most similar of the valid names, or with all of them if none is similar."""
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
