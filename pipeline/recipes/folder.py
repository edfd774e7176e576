"""Sets of one's own, of tens to thousands of clips, in a folder for each class; for a laptop as for a GPU.

Of no paper. Clips are stored with a shorter side of 128 pixels, which makes flow, decoding and networks a quarter as
dear as 256; the bound of flow follows, 20 px * 128 / 256 = 10 px. Windows are 16 frames, every second one: 1.3 seconds.
Few clips are learned by heart in few epochs, so that the recipes begin with a small learning rate, end with the cosine
and keep the checkpoint of the lowest validation loss. By the rates that `--plan` reckons with, 300 clips cost a
core some 40 minutes a network.
"""

from dataclasses import replace

from pipeline.config import (
    CatalogConfig,
    ClipsConfig,
    Config,
    EvaluationConfig,
    FlowConfig,
    IngestConfig,
    ModelConfig,
    OptimiserConfig,
    ScheduleConfig,
    TrackingConfig,
    TrainingConfig,
)


def resnet3d18_folder() -> Config:
    """3D ResNet-18 on RGB of a folder of one's own, from scratch or from `--model.weights.rgb`, all of it trained."""
    return Config(
        catalog=CatalogConfig(dataset="folder"),
        ingest=IngestConfig(short_side=128, streams=("rgb",), flow=FlowConfig(bound=20 * 128 / 256)),
        clips=ClipsConfig(frames=16, stride=2, crop=112, augment="multi_scale_corner_crop", flip=True),
        model=ModelConfig(name="resnet3d18", streams=("rgb",), dropout=0.0, levels="activitynet"),
        optimiser=OptimiserConfig(name="adamw", lr=3e-4, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", warmup_steps=5),
        training=TrainingConfig(epochs=30, batch_size=4, clips_per_step=8, clip_gradient=5.0, label_smoothing=0.1),
        evaluation=EvaluationConfig(split="auto", protocol="views", views=3, crops=1, val_frames=16, batch_size=8),
        tracking=TrackingConfig(experiment="folder", registered_model="video-folder-resnet3d18"),
    )


def i3d_folder() -> Config:
    """Two-stream I3D on RGB and flow of a folder of one's own, from scratch or from `--model.weights`.

    For sets that motion tells apart. Batch-norm momentum 0.1, since Sonnet's 0.001 takes thousands of steps.
    """
    base = resnet3d18_folder()
    return replace(
        base,
        ingest=replace(base.ingest, streams=("rgb", "flow")),
        model=ModelConfig(name="i3d", streams=("rgb", "flow"), dropout=0.5, options={"batch_norm_momentum": 0.1}),
        tracking=replace(base.tracking, registered_model="video-folder-i3d"),
    )


def resnet3d18_folder_full() -> Config:
    """All of torchvision's r3d_18, which knows Kinetics-400 and is downloaded by its name, on a folder of one's own.

    Its levels are those of its training, its first convolution is 3 frames deep and no pooling follows: five times the
    work of `resnet3d18_folder` for each clip, in a third of the epochs.
    """
    base = resnet3d18_folder()
    return replace(
        base,
        model=replace(
            base.model,
            fine_tune="full",
            weights={"rgb": "r3d_18"},
            levels="kinetics",
            options={"shortcut": "B", "stem_depth": 3, "stem_pool": False},
        ),
        optimiser=replace(base.optimiser, lr=1e-4),
        training=replace(base.training, epochs=10),
        tracking=replace(base.tracking, registered_model="video-folder-r3d-18"),
    )


def i3d_folder_full() -> Config:
    """All of a published two-stream I3D on a folder of one's own, from `--model.weights.rgb` and `.flow` FILE.

    32 frames of 25 a second, in the middle between cost and the 64 that the published networks saw.
    """
    base = i3d_folder()
    return replace(
        base,
        clips=replace(base.clips, frames=32, stride=1),
        model=replace(base.model, fine_tune="full"),
        optimiser=replace(base.optimiser, lr=1e-4),
        training=replace(base.training, epochs=10),
        evaluation=replace(base.evaluation, val_frames=32),
        tracking=replace(base.tracking, registered_model="video-folder-i3d"),
    )
