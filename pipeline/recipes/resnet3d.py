"""Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet? (arXiv 1711.09577).

The sources are section 3.3 and 3D-ResNets-PyTorch, branch CVPR2018 (`opts.py`, `main.py`). Eleven networks share one
recipe. Windows are 16 frames; the crop is a square at one of the four corners or the centre, with a side of 1, 2^-1/4,
2^-1/2, 2^-3/4 or 1/2 of the shorter side, resized to 112 and mirrored half of the time; levels are from 0 to 255 minus
the mean of ActivityNet. SGD has momentum 0.9, dampening 0.9 (Torch7's default, which makes steps ten times smaller in
the long run) and weight decay 1e-3; the learning rate is 0.1, divided by 10 after 10 epochs without a better validation
loss; batches of 128; 200 epochs.

Deviations: frames are stored at 25 a second with a shorter side of 256, where theirs were 240 high at the video's own
rate; the validation loss is of one window per video, where theirs was of three.
"""

from dataclasses import replace
from typing import Literal

from pipeline.config import (
    CatalogConfig,
    ClipsConfig,
    Config,
    EvaluationConfig,
    IngestConfig,
    ModelConfig,
    OptimiserConfig,
    ScheduleConfig,
    TrackingConfig,
    TrainingConfig,
)


def _kinetics(name: str) -> Config:
    """Return the module's recipe for one network, with batches of 128, 16 at a time."""
    return Config(
        catalog=CatalogConfig(dataset="kinetics400"),
        ingest=IngestConfig(short_side=256, fps=25, streams=("rgb",)),
        clips=ClipsConfig(frames=16, stride=1, crop=112, augment="multi_scale_corner_crop", flip=True),
        model=ModelConfig(name=name, streams=("rgb",), dropout=0.0, levels="activitynet"),
        optimiser=OptimiserConfig(lr=0.1, momentum=0.9, dampening=0.9, weight_decay=1e-3),
        schedule=ScheduleConfig(factor=0.1, patience=10),
        training=TrainingConfig(epochs=200, batch_size=16, clips_per_step=128),
        evaluation=EvaluationConfig(split="val", val_frames=16),
        tracking=TrackingConfig(experiment="kinetics-pretrain", registered_model=f"video-{name.replace('_', '-')}"),
    )


def resnet3d18_kinetics() -> Config:
    """3D ResNet-18 on Kinetics-400 from scratch; section 4.2: 66.1 (validation, mean of top-1 and top-5)."""
    return _kinetics("resnet3d18")


def resnet3d34_kinetics() -> Config:
    """3D ResNet-34 on Kinetics-400 from scratch; section 4.2: 71.0 (validation, mean of top-1 and top-5)."""
    return _kinetics("resnet3d34")


def resnet3d50_kinetics() -> Config:
    """3D ResNet-50 on Kinetics-400 from scratch; section 4.2: 72.2 (validation, mean of top-1 and top-5)."""
    return _kinetics("resnet3d50")


def resnet3d101_kinetics() -> Config:
    """3D ResNet-101 on Kinetics-400 from scratch; section 4.2: 73.3 (validation, mean of top-1 and top-5)."""
    return _kinetics("resnet3d101")


def resnet3d152_kinetics() -> Config:
    """3D ResNet-152 on Kinetics-400 from scratch; section 4.2: 73.7 (validation, mean of top-1 and top-5)."""
    return _kinetics("resnet3d152")


def resnet3d200_kinetics() -> Config:
    """3D ResNet-200 on Kinetics-400 from scratch; section 4.2: 73.7 (validation, mean of top-1 and top-5)."""
    return _kinetics("resnet3d200")


def preact_resnet3d200_kinetics() -> Config:
    """Pre-activation 3D ResNet-200 on Kinetics-400 from scratch; section 4.2: 73.4 (mean of top-1 and top-5)."""
    return _kinetics("preact_resnet3d200")


def wide_resnet3d50_kinetics() -> Config:
    """3D Wide ResNet-50 on Kinetics-400 from scratch; section 4.2: 74.7 (validation, mean of top-1 and top-5)."""
    return _kinetics("wide_resnet3d50")


def resnext3d101_kinetics() -> Config:
    """3D ResNeXt-101 on Kinetics-400 from scratch; section 4.2: 75.4 (validation, mean of top-1 and top-5)."""
    return _kinetics("resnext3d101")


def hara_densenet3d121_kinetics() -> Config:
    """3D DenseNet-121 on Kinetics-400 from scratch; section 4.2: 70.8 (validation, mean of top-1 and top-5)."""
    return _kinetics("hara_densenet3d121")


def hara_densenet3d201_kinetics() -> Config:
    """3D DenseNet-201 on Kinetics-400 from scratch; section 4.2: 72.3 (validation, mean of top-1 and top-5)."""
    return _kinetics("hara_densenet3d201")


def resnet3d18_activitynet() -> Config:
    """3D ResNet-18 on ActivityNet 1.3 from scratch, section 4.1: it overfits, as on UCF-101 and HMDB-51.

    The recipe is that of Kinetics. Each segment is a clip. The test is on the validation subset, as the labels of the
    test videos are hidden.
    """
    base = resnet3d18_kinetics()
    return replace(
        base,
        catalog=CatalogConfig(dataset="activitynet", splits=("train", "val")),
        tracking=replace(base.tracking, experiment="activitynet", registered_model="video-resnet3d18-activitynet"),
    )


def resnext3d101_64f_kinetics() -> Config:
    """3D ResNeXt-101 on 64 frames of Kinetics-400; the abstract reports 78.4 (test set, mean of top-1 and top-5).

    The batch is 128 too, but 4 at a time.
    """
    base = resnext3d101_kinetics()
    return replace(
        base,
        clips=replace(base.clips, frames=64),
        training=replace(base.training, batch_size=4),
        evaluation=replace(base.evaluation, val_frames=64),
        tracking=replace(base.tracking, registered_model="video-resnext3d101-64f"),
    )


def from_scratch(pretrained: Config, dataset: Literal["ucf101", "hmdb51"]) -> Config:
    """Train all layers on UCF-101 or HMDB-51 from scratch, section 4.1: ResNet-18 reaches 42.4 top-1 on UCF-101.

    Pretrained on Kinetics it reaches 84.4 (`resnet3d18_ucf101`), which is the paper's point. The recipe is that of
    Kinetics. As in `fine_tuned`, the learning rate falls when the loss on the test split stops falling, and the last
    checkpoint is used.
    """
    tuned = fine_tuned(pretrained, dataset)
    return replace(
        tuned,
        model=replace(tuned.model, fine_tune="original"),
        optimiser=pretrained.optimiser,
        training=replace(tuned.training, epochs=pretrained.training.epochs),
        tracking=replace(tuned.tracking, registered_model=f"{tuned.tracking.registered_model}-scratch"),
    )


def fine_tuned(pretrained: Config, dataset: Literal["ucf101", "hmdb51"]) -> Config:
    """Train conv5_x and the classifier on UCF-101 or HMDB-51, section 4.4; `--catalog.split_number` chooses the split.

    Learning rate 0.001, weight decay 1e-5, up to 300 epochs (the author, 3D-ResNets-PyTorch, issues 47 and 70). Batch
    norm keeps updating its statistics in all layers. As published, the learning rate falls when the loss on the test
    split stops falling. Deviation: the last checkpoint is used, not the one with the lowest test loss.
    """
    return replace(
        pretrained,
        catalog=CatalogConfig(dataset=dataset),
        model=replace(pretrained.model, fine_tune="last_block"),
        optimiser=replace(pretrained.optimiser, lr=0.001, weight_decay=1e-5),
        training=replace(pretrained.training, epochs=300, val_split="test", keep="last"),
        evaluation=replace(pretrained.evaluation, split="test"),
        tracking=replace(
            pretrained.tracking,
            experiment=f"finetune-{dataset}",
            registered_model=f"{pretrained.tracking.registered_model}-{dataset}",
        ),
    )
