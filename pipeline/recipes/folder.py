"""Recipes for your own data sets: tens to thousands of clips in one folder per class, on a laptop or a GPU.

They follow no paper. Clips are stored with a shorter side of 128 pixels, so that flow, decoding and networks cost a
quarter of what they cost at 256; the flow bound is therefore 20 px * 128 / 256 = 10 px. Windows are 16 frames, every
second one: 1.3 seconds. Networks overfit to few clips within few epochs, so the recipes use a small learning rate with
a cosine schedule and keep the checkpoint of the lowest validation loss. With the rates that `--plan` assumes, 300 clips
take one core about 40 minutes per network.
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
    SweepConfig,
    TrackingConfig,
    TrainingConfig,
)


def resnet3d18_folder() -> Config:
    """3D ResNet-18 on RGB of your own folder, from scratch or from `--model.weights.rgb`; all layers are trained."""
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
    """Two-stream I3D on RGB and flow of your own folder, from scratch or from `--model.weights`.

    It is meant for classes that differ in motion. The batch-norm momentum is 0.1, because Sonnet's 0.001 needs
    thousands of steps.
    """
    base = resnet3d18_folder()
    return replace(
        base,
        ingest=replace(base.ingest, streams=("rgb", "flow")),
        model=ModelConfig(name="i3d", streams=("rgb", "flow"), dropout=0.5, options={"batch_norm_momentum": 0.1}),
        tracking=replace(base.tracking, registered_model="video-folder-i3d"),
    )


def folder_sweep() -> SweepConfig:
    """A sweep over the folds of your own folder: two-stream I3D from scratch, the test of all, the mean over the folds.

    `--base.ingest.shards` is a set that `jobs/ingest.py --catalog.fold all` has made; `--axes.` adds what to compare.
    """
    base = i3d_folder()
    return SweepConfig(
        base=replace(
            base,
            evaluation=replace(base.evaluation, split="test"),
            tracking=replace(base.tracking, experiment="folder-sweep"),
        ),
        axes={"catalog.fold": "0,1,2,3,4"},
        over=("catalog.fold", "seed"),
        test="all",
    )


def resnet3d18_folder_full() -> Config:
    """A 3D ResNet-18 pretrained on Kinetics-400 (torchvision's r3d_18), with all layers fine-tuned on your own folder.

    The weights are downloaded by their name, and the input levels are those of their training. The first convolution is
    3 frames deep and no pooling follows it, so each clip is five times the work that it is in `resnet3d18_folder`; the
    training has a third of the epochs.
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
    """A published two-stream I3D, from `--model.weights.rgb` and `.flow` FILE, fine-tuned on your own folder.

    All layers are trained. Windows are 32 frames at 25 a second, a compromise between cost and the 64 frames with which
    the published networks were trained.
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
