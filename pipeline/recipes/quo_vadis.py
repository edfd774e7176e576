"""Carreira and Zisserman, Quo Vadis, Action Recognition? (arXiv 1705.07750): five architectures on Kinetics-400.

Table 3 lists each with and without ImageNet weights; here NAME_kinetics starts from scratch and NAME_imagenet_kinetics
from the inflated weights of torchvision's GoogLeNet. These weights take levels from -1 to 1, as these networks do, and
need equal padding on both sides of the first convolution (`stem_padding`). DeepMind inflated other weights.

Section 2.5 trains all of them with SGD with momentum 0.9, a learning rate that is divided by 10 when the validation
loss saturates, and 110k steps on 32 GPUs (64 for the 3D ConvNets). With 240,000 training clips and b clips per GPU
these steps are 110,000 * 32 * b / 240,000 epochs. The paper does not state learning rate, weight decay and clips per
GPU; 0.1, 1e-7 and 6 are from kinetics-i3d's README.
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
    SweepConfig,
    TrackingConfig,
    TrainingConfig,
)


def i3d_kinetics() -> Config:
    """Two-stream I3D on Kinetics-400 from scratch, section 2.5 and kinetics-i3d's README.

    64 frames at 25 a second, shorter side 256, random 224 crop and flip; SGD with momentum 0.9, weight decay 1e-7, and
    learning rate 0.1, divided by 10 when the validation loss saturates; 6 clips per replica on 64 replicas. Batch norm
    is per worker, as in the paper. Deviations: the learning rate does not fall below 1e-4 (the README ends at 1e-3);
    the length is in epochs instead of 115k (RGB) and 155k (flow) steps: 115,000 steps * 384 clips / 240,000 clips = 184
    epochs. `i3d_rgb_kinetics` and `i3d_flow_kinetics` have the README's steps and rates.
    """
    return Config(
        catalog=CatalogConfig(dataset="kinetics400"),
        ingest=IngestConfig(short_side=256, fps=25),
        clips=ClipsConfig(frames=64, stride=1, crop=224, flip=True),
        model=ModelConfig(name="i3d", streams=("rgb", "flow"), dropout=0.5),
        optimiser=OptimiserConfig(lr=0.1, momentum=0.9, weight_decay=1e-7),
        schedule=ScheduleConfig(factor=0.1, patience=3, min_lr=1e-4),
        training=TrainingConfig(epochs=184, batch_size=6, clips_per_step=64 * 6),
        evaluation=EvaluationConfig(split="val", frames=None),
        tracking=TrackingConfig(experiment="kinetics-pretrain", registered_model="video-i3d-two-stream"),
    )


def i3d_imagenet_kinetics() -> Config:
    """Two-stream I3D on Kinetics-400 from inflated ImageNet weights, Table 3: 74.2 top-1 on the test set.

    Section 2.4 describes the inflation; batch norm was not frozen (kinetics-i3d, issue 46). In the flow stream, both
    input channels get the mean of the filters over RGB.
    """
    return _from_imagenet(i3d_kinetics())


def i3d_rgb_kinetics() -> Config:
    """I3D on RGB of Kinetics-400 from scratch, with the schedule of kinetics-i3d's README; Table 3: 68.4 top-1.

    115k steps; the learning rate is 0.1, from step 97k on 0.01, from 108k on 0.001.
    """
    base = i3d_kinetics()
    return replace(
        base,
        ingest=replace(base.ingest, streams=("rgb",)),
        model=replace(base.model, streams=("rgb",)),
        schedule=ScheduleConfig(name="step", unit="steps", milestones=(97_000, 108_000), rates=(0.01, 0.001)),
        training=replace(base.training, epochs=185, steps=115_000),  # 115,000 * 384 / 240,000 = 184 epochs; 1 spare
        tracking=replace(base.tracking, registered_model="video-i3d-rgb"),
    )


def i3d_flow_kinetics() -> Config:
    """I3D on flow of Kinetics-400 from scratch, with the schedule of kinetics-i3d's README; Table 3: 61.5 top-1.

    155k steps; the learning rate is 0.1, from step 97k on 0.01, from 104.5k on 0.001, from 115k on 0.1 again, from 140k
    on 0.01, from 150k on 0.001.
    """
    base = i3d_kinetics()
    return replace(
        base,
        model=replace(base.model, streams=("flow",)),
        schedule=ScheduleConfig(
            name="step",
            unit="steps",
            milestones=(97_000, 104_500, 115_000, 140_000, 150_000),
            rates=(0.01, 0.001, 0.1, 0.01, 0.001),
        ),
        training=replace(base.training, epochs=248, steps=155_000),  # 155,000 * 384 / 240,000 = 248 epochs
        tracking=replace(base.tracking, registered_model="video-i3d-flow"),
    )


def convnet_lstm_kinetics() -> Config:
    """ConvNet + LSTM on Kinetics-400 from scratch, section 2.1 and Table 1 (a); Table 3: 53.9 top-1.

    25 frames, every fifth one at 25 a second, which are 5 seconds. The loss is computed on the outputs of all time
    steps. 110,000 * 32 * 6 / 240,000 = 88 epochs.
    """
    base = i3d_kinetics()
    return replace(
        base,
        ingest=replace(base.ingest, streams=("rgb",)),
        clips=replace(base.clips, frames=25, stride=5),
        model=replace(base.model, name="convnet_lstm", streams=("rgb",)),
        training=replace(base.training, epochs=88, clips_per_step=32 * 6),
        evaluation=replace(base.evaluation, val_frames=25),
        tracking=replace(base.tracking, registered_model="video-convnet-lstm"),
    )


def convnet_lstm_imagenet_kinetics() -> Config:
    """ConvNet + LSTM on Kinetics-400 from ImageNet weights, section 2.1; Table 3: 63.3 top-1."""
    return _from_imagenet(convnet_lstm_kinetics())


def c3d_kinetics() -> Config:
    """3D ConvNet (C3D with batch norm) on Kinetics-400 from scratch, section 2.2 and Table 1 (b); Table 3: 56.1 top-1.

    16 frames, crops of 112 x 112, 15 clips per GPU on 64 GPUs: 110,000 * 960 / 240,000 = 440 epochs. The paper does not
    state the shorter side before the crop; 128 is C3D's. The paper has no result from ImageNet weights, because there
    is no 2D network to inflate.
    """
    base = i3d_kinetics()
    return replace(
        base,
        ingest=replace(base.ingest, streams=("rgb",)),
        clips=replace(base.clips, frames=16, short_side=128, crop=112),
        model=replace(base.model, name="c3d", streams=("rgb",)),
        training=replace(base.training, epochs=440, batch_size=15, clips_per_step=64 * 15),
        evaluation=replace(base.evaluation, val_frames=16),
        tracking=replace(base.tracking, registered_model="video-c3d"),
    )


def two_stream_kinetics() -> Config:
    """Two-Stream on Kinetics-400 from scratch, section 2.3 and Table 1 (c); Table 3: 62.8 top-1.

    One RGB frame and the 10 flow frames around it; training is end to end, including the averaging of both streams. 88
    epochs, like `convnet_lstm_kinetics`.
    """
    base = i3d_kinetics()
    return replace(
        base,
        clips=replace(base.clips, frames=10, rgb_every=10),
        model=replace(base.model, name="two_stream"),
        training=replace(base.training, epochs=88, clips_per_step=32 * 6),
        evaluation=replace(base.evaluation, val_frames=10),
        tracking=replace(base.tracking, registered_model="video-two-stream"),
    )


def two_stream_rgb_kinetics() -> Config:
    """The RGB stream of Two-Stream alone, from scratch, Table 3: 57.9 top-1; one frame, 25 in the test."""
    return _single_stream("rgb", frames=1)


def two_stream_flow_kinetics() -> Config:
    """The flow stream of Two-Stream alone, from scratch, Table 3: 49.6 top-1; 10 frames, 25 times 10 in the test."""
    return _single_stream("flow", frames=10)


def two_stream_rgb_imagenet_kinetics() -> Config:
    """The RGB stream of Two-Stream alone, from ImageNet weights, Table 2: 62.2 top-1; one frame, 25 in the test."""
    return _from_imagenet(two_stream_rgb_kinetics())


def two_stream_flow_imagenet_kinetics() -> Config:
    """The flow stream of Two-Stream alone, from ImageNet weights, Table 2: 52.4; 10 frames, 25 times 10 in the test."""
    return _from_imagenet(two_stream_flow_kinetics())


def fused_rgb_imagenet_kinetics() -> Config:
    """The RGB stream of 3D-Fused alone, from ImageNet weights: 5 frames, 10 apart, and 25 in the test.

    Table 2 has it on split 1 of UCF-101 (83.2) and HMDB-51 (49.2), and not on Kinetics. The paper does not say how a
    single stream is trained; here it is trained alone, with the 3D convolution behind it, as the whole network is.
    """
    return _fused_stream("rgb", frames=5, stride=10)


def fused_flow_imagenet_kinetics() -> Config:
    """The flow stream of 3D-Fused alone, from ImageNet weights: 50 frames, and 250 in the test.

    Table 2 has 85.8 on split 1 of UCF-101 and 55.5 on that of HMDB-51; see `fused_rgb_imagenet_kinetics`.
    """
    return _fused_stream("flow", frames=50, stride=1)


def _fused_stream(stream: Literal["rgb", "flow"], frames: int, stride: int) -> Config:
    base = _from_imagenet(_single_stream(stream, frames))
    return replace(
        base,
        clips=replace(base.clips, stride=stride),
        model=replace(base.model, name="fused_single_stream"),
        tracking=replace(base.tracking, registered_model=f"video-fused-{stream}"),
    )


def _single_stream(stream: Literal["rgb", "flow"], frames: int) -> Config:
    base = two_stream_kinetics()
    return replace(
        base,
        ingest=replace(base.ingest, streams=("rgb",) if stream == "rgb" else ("rgb", "flow")),
        clips=replace(base.clips, frames=frames, rgb_every=1),
        model=replace(base.model, name="single_stream", streams=(stream,)),
        evaluation=replace(base.evaluation, val_frames=frames),
        tracking=replace(base.tracking, registered_model=f"video-two-stream-{stream}"),
    )


def two_stream_imagenet_kinetics() -> Config:
    """Two-Stream on Kinetics-400 from ImageNet weights, section 2.3; Table 3: 65.6 top-1."""
    return _from_imagenet(two_stream_kinetics())


def fused_two_stream_kinetics() -> Config:
    """3D-Fused Two-Stream on Kinetics-400 from scratch, section 2.3 and Table 1 (d); Table 3: 62.7 top-1.

    5 RGB frames, 10 apart, and the 50 flow frames around them, trained end to end. 88 epochs, like
    `convnet_lstm_kinetics`.
    """
    base = two_stream_kinetics()
    return replace(
        base,
        clips=replace(base.clips, frames=50),
        model=replace(base.model, name="fused_two_stream"),
        evaluation=replace(base.evaluation, val_frames=50),
        tracking=replace(base.tracking, registered_model="video-fused-two-stream"),
    )


def fused_two_stream_imagenet_kinetics() -> Config:
    """3D-Fused Two-Stream on Kinetics-400 from ImageNet weights, section 2.3; Table 3: 67.2 top-1."""
    return _from_imagenet(fused_two_stream_kinetics())


def _from_imagenet(base: Config) -> Config:
    options = {**base.model.options, "stem_padding": "symmetric"}
    return replace(base, model=replace(base.model, inflate="googlenet", options=options))


def fine_tuned(
    pretrained: Config, dataset: Literal["ucf101", "hmdb51"], mode: Literal["original", "fixed", "full"]
) -> Config:
    """Train on UCF-101 or HMDB-51 as in Table 4; `--catalog.split_number` chooses 1, 2, 3 or all.

    Up to 5,000 steps on 16 GPUs (section 2.5). With 6 clips per GPU these are 5,000 * 96 / 9,537 = 50.3 epochs on split
    1 of UCF-101, and 5,000 * 96 / 3,570 = 134.5 on a split of HMDB-51. Deviations: the paper says only that the
    learning rate was adapted "similarly"; here it starts at 0.1 for a new classifier or a new network and at 0.01 if
    all pretrained weights are trained, and is divided by 10 at 3,000 and 4,500 steps. No videos are held out for
    validation: the validation loss is of the test split, so it selects nothing, and the last checkpoint is used.
    """
    clips = {"ucf101": 9_537, "hmdb51": 3_570}[dataset]  # training clips of split 1
    steps, batch = 5_000, 16 * pretrained.training.batch_size
    inflate = pretrained.model.inflate if mode == "original" else ""
    return replace(
        pretrained,
        catalog=CatalogConfig(dataset=dataset),
        model=replace(pretrained.model, fine_tune=mode, inflate=inflate),
        optimiser=replace(pretrained.optimiser, lr=0.01 if mode == "full" else 0.1),
        schedule=ScheduleConfig(name="step", unit="steps", milestones=(3_000, 4_500)),
        training=replace(
            pretrained.training,
            epochs=steps // (clips // batch) + 1,
            steps=steps,
            clips_per_step=batch,
            val_split="test",
            keep="last",
        ),
        evaluation=replace(pretrained.evaluation, split="test"),
        tracking=replace(
            pretrained.tracking,
            experiment=f"finetune-{dataset}",
            registered_model=f"{pretrained.tracking.registered_model}-{dataset}",
        ),
    )


def i3d_sweep() -> SweepConfig:
    """A sweep of temporal depth, stride and resolution of I3D's RGB stream: 3 * 2 * 2 = 12 trials of 10 epochs."""
    base = i3d_kinetics()
    return SweepConfig(
        base=replace(
            base,
            model=replace(base.model, streams=("rgb",)),
            training=replace(base.training, epochs=10, clips_per_step=8 * 6),
            tracking=replace(base.tracking, experiment="sweep-i3d"),
        ),
        scheduler="asha",
        axes={"clips.frames": "16,32,64", "clips.stride": "1,2", "clips.crop": "112,224"},
        concurrent=4,
        grace_epochs=2,
    )
