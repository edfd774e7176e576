"""Diba et al., Temporal 3D ConvNets (arXiv 1711.08200): T3D and DenseNet3D on Kinetics-400, transfer, fine-tuning.

Section 4 has 32 frames of 224 x 224 with the mean subtracted, cropped at the four corners or the centre after a resize
to a shorter side of 256 and mirrored at random; SGD with Nesterov momentum 0.9, weight decay 1e-4, batches of 64,
learning rate 0.1, divided by 10 when the validation loss saturates, and 200 epochs. In Table 6 every second frame is
best.
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

    64 clips per step, 8 at a time. Deviations: frames keep their shape at a shorter side of 256, where one reading of
    the paper squashes them to 256 x 256; the learning rate does not fall below 1e-4, where the paper names no limit;
    mean and standard deviation are ImageNet's (the paper subtracts a mean and does not say which); the loss counts as
    saturated after 5 epochs without a better one (the paper does not say); the test clips of 32 frames have the stride
    of training, 3 in 10 s (the paper does not say).
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


def t3d121_half_kinetics() -> Config:
    """T3D-121 on half of Kinetics-400, FT-Transfer of Table 8: from a student of `t3d121_youtube8m` to UCF-101.

    It begins with `--model.weights.rgb` of that transfer, and a fine-tuning begins with it. The paper does not say
    which half; here it is half of each class, chosen by the seed. The recipe is that of `t3d121_kinetics`.
    """
    return _half(t3d121_kinetics())


def densenet3d121_half_kinetics() -> Config:
    """DenseNet3D-121 on half of Kinetics-400, FT-Transfer of Table 8; see `t3d121_half_kinetics`."""
    return _half(densenet3d121_kinetics())


def resnet3d50_t3d_half_kinetics() -> Config:
    """ResNet3D-50 on half of Kinetics-400, FT-Transfer of Table 8; see `t3d121_half_kinetics`."""
    return _half(resnet3d50_t3d_kinetics())


def _half(base: Config) -> Config:
    return replace(
        base,
        training=replace(base.training, train_fraction=0.5),
        tracking=replace(base.tracking, registered_model=f"{base.tracking.registered_model}-half"),
    )


def t3d169_kinetics() -> Config:
    """T3D-169 on Kinetics-400 from scratch, Table 1; in Table 2 the deeper network is slightly better."""
    return _network("t3d169")


def densenet3d121_kinetics() -> Config:
    """DenseNet3D-121 on Kinetics-400 from scratch: T3D without its temporal transition layers, Table 1."""
    return _network("densenet3d121")


def resnet3d50_t3d_kinetics() -> Config:
    """ResNet3D-50 under T3D's recipe, a backbone of Table 4 (UCF-101 split 1 from scratch: 59.2, T3D: 71.4).

    Clips, optimiser, schedule and test are those of `t3d121_kinetics`, with its deviations. The network is the 3D
    ResNet-50 of Hara et al., since this paper does not describe its own.
    """
    return _network("resnet3d50", "resnet3d50-t3d")


def inception3d_t3d_kinetics() -> Config:
    """Inception3D under T3D's recipe, a backbone of Table 4 (UCF-101 split 1 from scratch: 69.5, T3D: 71.4).

    Clips, optimiser, schedule and test are those of `t3d121_kinetics`, with its deviations. The network is I3D without
    dropout, with torch's momentum of batch norm, since the paper does not describe its own.
    """
    return _network("i3d", "inception3d-t3d", batch_norm_momentum=0.1)


def resnet3d50_ttl_kinetics() -> Config:
    """ResNet3D-50 with temporal transition layers behind conv2_x, conv3_x and conv4_x, under T3D's recipe.

    Section 3.1 says that the layer suits other networks and has no accuracy for them.
    """
    return _network("resnet3d50", "resnet3d50-ttl", temporal_transitions=True)


def inception3d_ttl_kinetics() -> Config:
    """Inception3D with temporal transition layers behind Mixed_3c and Mixed_4f, under T3D's recipe.

    Section 3.1 says that the layer suits other networks and has no accuracy for them.
    """
    return _network("i3d", "inception3d-ttl", batch_norm_momentum=0.1, temporal_transitions=True)


def t3d121_youtube8m() -> Config:
    """Supervision transfer from DenseNet-121 of ImageNet to T3D-121 on unlabelled YouTube-8M, sections 3.2 and 4.

    32 frames; batches of 32, 4 at a time; learning rate 0.1, divided by 10 every 30 epochs, 150 epochs at most; weight
    decay 1e-4; about 500,000 clips. Deviations: one window of 10 s is used from each video, because the paper does not
    say which clips; every second frame is used, as on Kinetics. The validation set is YouTube-8M's split `validate`,
    whose records are given as `--catalog.annotations.val`. Half of the clips may fail, because YouTube no longer shows
    many of the videos and the transfer needs no particular ones.
    """
    return _transfer(t3d121_kinetics())


def densenet3d121_youtube8m() -> Config:
    """Supervision transfer as in `t3d121_youtube8m` to DenseNet3D-121, a student of Table 8."""
    return _transfer(densenet3d121_kinetics())


def resnet3d50_t3d_youtube8m() -> Config:
    """Supervision transfer as in `t3d121_youtube8m` to ResNet3D-50, a student of Table 8."""
    return _transfer(resnet3d50_t3d_kinetics())


def inception3d_t3d_youtube8m() -> Config:
    """Supervision transfer as in `t3d121_youtube8m` to Inception3D, a network of Table 4."""
    return _transfer(inception3d_t3d_kinetics())


def _transfer(base: Config) -> Config:
    return replace(
        base,
        catalog=CatalogConfig(dataset="youtube8m"),
        ingest=replace(base.ingest, max_failed=0.5),
        model=replace(base.model, inflate="densenet121"),
        schedule=ScheduleConfig(name="step", milestones=(30, 60, 90, 120)),
        training=replace(base.training, epochs=150, batch_size=4, clips_per_step=32),
        tracking=replace(base.tracking, experiment="supervision-transfer", registered_model=""),
    )


def fine_tuned(pretrained: Config, dataset: Literal["ucf101", "hmdb51"]) -> Config:
    """Train all layers on UCF-101 or HMDB-51, Table 10; `--catalog.split_number` chooses 1, 2, 3 or all.

    The initial weights come from Kinetics (T3D: 90.3 and 59.2, mean of three splits) or from supervision transfer.
    Deviations: the paper does not state learning rate, epochs and frozen layers; here all layers are trained for 60
    epochs, with a learning rate of 0.01 that is divided by 10 after 30 and 50. The validation loss is of the test
    split, so it selects nothing, and the last checkpoint is used.
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


def t3d121_tsn_ucf101() -> Config:
    """T3D-121 as a Temporal Segment Network on UCF-101, T3D + TSN of Table 10: 93.2, mean of three splits.

    It begins with weights of Kinetics, as `t3d121_ucf101`, whose other settings it has. The loss is that of the mean of
    the logits of 3 windows, one from each third of the clip, and the test averages the logits of 25 windows and the
    central crop. Deviations: the paper states neither the number of segments nor that of test windows; 3 and 25 are
    those of TSN (arXiv 1608.00859), which also tests ten crops.
    """
    return _in_segments("ucf101")


def t3d121_tsn_hmdb51() -> Config:
    """T3D-121 as a Temporal Segment Network on HMDB-51, T3D + TSN of Table 10: 63.5; see `t3d121_tsn_ucf101`."""
    return _in_segments("hmdb51")


def _in_segments(dataset: Literal["ucf101", "hmdb51"]) -> Config:
    base = fine_tuned(t3d121_kinetics(), dataset)
    return replace(
        base,
        clips=replace(base.clips, segments=3),
        evaluation=replace(base.evaluation, protocol="tsn", views=25, crops=1),
        tracking=replace(base.tracking, registered_model=f"video-t3d121-tsn-{dataset}"),
    )


def _network(name: str, registered: str = "", **options: object) -> Config:
    base = t3d121_kinetics()
    return replace(
        base,
        model=replace(base.model, name=name, options=options),
        evaluation=replace(base.evaluation, protocol="t3d"),
        tracking=replace(base.tracking, registered_model=f"video-{registered or name}"),
    )
