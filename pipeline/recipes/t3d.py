"""Diba et al., Temporal 3D ConvNets (arXiv 1711.08200): T3D and DenseNet3D on Kinetics-400, fine-tuning.

Section 4: 32 frames of 224 x 224, mean-subtracted, cut from the four corners or the centre of a shorter side of 256,
mirrored at random; SGD with Nesterov momentum 0.9, weight decay 1e-4, batches of 64, learning rate 0.1 divided by 10
when the validation loss saturates, 200 epochs. Table 6 finds every second frame best.
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


def t3d121_kinetics() -> Config:
    """T3D-121 on Kinetics-400 from scratch, section 4.3; Table 9: 62.2 top-1 (T3D, as a survey quotes it).

    64 clips a step, 8 at a time. Deviations: the mean and deviation are ImageNet's (the paper subtracts a mean and does
    not say which); how many epochs without a better loss count as saturated is not stated: 5.
    """
    return Config(
        catalog=CatalogConfig(dataset="kinetics400"),
        ingest=IngestConfig(short_side=256, fps=25, streams=("rgb",)),
        clips=ClipsConfig(frames=32, stride=2, crop=224, augment="corner_crop", flip=True),
        model=ModelConfig(name="t3d121", streams=("rgb",), dropout=0.0, levels="imagenet"),
        optimiser=OptimiserConfig(lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=ScheduleConfig(factor=0.1, patience=5, min_lr=1e-4),
        training=TrainingConfig(epochs=200, batch_size=8, clips_per_step=64),
        evaluation=EvaluationConfig(split="val", val_frames=32),
        tracking=TrackingConfig(experiment="kinetics-pretrain", registered_model="video-t3d121"),
    )


def t3d169_kinetics() -> Config:
    """T3D-169 on Kinetics-400 from scratch, Table 1; Table 2 finds the deeper network slightly better."""
    return _network("t3d169")


def densenet3d121_kinetics() -> Config:
    """DenseNet3D-121 on Kinetics-400 from scratch: T3D without its temporal transition layers, Table 1."""
    return _network("densenet3d121")


def t3d121_youtube8m() -> Config:
    """Supervision transfer from DenseNet-121 of ImageNet to T3D-121 on unlabelled YouTube-8M, sections 3.2 and 4.

    32 frames; batches of 32, 4 at a time; learning rate 0.1, divided by 10 every 30 epochs, 150 epochs
    at most; weight decay 1e-4. Some 500,000 clips. Deviations: one window of 10 s is taken of each video, since the
    paper does not say which clips; every second frame, as on Kinetics. The records of the validation are those of
    YouTube-8M's split `validate`, given as `--catalog.annotations.val`.
    """
    base = t3d121_kinetics()
    return replace(
        base,
        catalog=CatalogConfig(dataset="youtube8m"),
        model=replace(base.model, inflate="densenet121"),
        schedule=ScheduleConfig(name="step", milestones=(30, 60, 90, 120)),
        training=replace(base.training, epochs=150, batch_size=4, clips_per_step=32),
        tracking=replace(base.tracking, experiment="supervision-transfer", registered_model=""),
    )


def fine_tuned(pretrained: Config, dataset: Literal["ucf101", "hmdb51"]) -> Config:
    """All of a network on UCF-101 or HMDB-51, Table 10; `--catalog.split_number` takes split 1, 2 or 3.

    Weights are those of Kinetics (T3D: 90.3 and 59.2, mean of three splits) or of supervision transfer. Deviations:
    learning rate, epochs and what is frozen are not known; here everything is trained for 60 epochs from 0.01 on,
    divided by 10 after 30 and 50. Nothing is chosen by the validation loss, which is of the test split.
    """
    return replace(
        pretrained,
        catalog=CatalogConfig(dataset=dataset),
        model=replace(pretrained.model, fine_tune="full"),
        optimiser=replace(pretrained.optimiser, lr=0.01),
        schedule=ScheduleConfig(name="step", milestones=(30, 50)),
        training=replace(pretrained.training, epochs=60, val_split="test", keep="last"),
        evaluation=replace(pretrained.evaluation, split="test"),
        tracking=replace(
            pretrained.tracking,
            experiment=f"finetune-{dataset}",
            registered_model=f"{pretrained.tracking.registered_model}-{dataset}",
        ),
    )


def _network(name: str) -> Config:
    base = t3d121_kinetics()
    return replace(
        base,
        model=replace(base.model, name=name),
        tracking=replace(base.tracking, registered_model=f"video-{name}"),
    )
