"""The demonstration, which runs the whole main job in minutes on two cores."""

from dataclasses import replace

from pipeline.config import (
    CatalogConfig,
    ClipsConfig,
    Config,
    EvaluationConfig,
    FlowConfig,
    IngestConfig,
    ModelConfig,
    MotionShapesConfig,
    OptimiserConfig,
    ResourcesConfig,
    ScheduleConfig,
    SweepConfig,
    TrackingConfig,
    TrainingConfig,
)


def demo() -> Config:
    """Two-stream I3D on motion shapes: rendered clips in 8 classes that differ in their motion only.

    The networks are the paper's, at full width; the clips are 64 x 64 pixels instead of 256 high. The flow bound is
    therefore 20 px * 64 / 256 = 5 px. Windows are resized to 32 x 32, so that 16 frames cost as much as 4 at 64 x 64:
    more frames show motion better than larger ones. There is no flip, because it would turn left into right. The
    batch-norm momentum is 0.1, because Sonnet's 0.001 needs thousands of steps. One epoch without a better validation
    loss is a plateau, and the second plateau ends the training.
    """
    return Config(
        catalog=CatalogConfig(
            dataset="motion_shapes", motion_shapes=MotionShapesConfig(train=48, val=8, test=16, frames=24, size=64)
        ),
        ingest=IngestConfig(short_side=64, flow=FlowConfig(bound=20 * 64 / 256), max_failed=0.0),
        clips=ClipsConfig(frames=16, stride=1, short_side=32, crop=28, flip=False),
        model=ModelConfig(name="i3d", streams=("rgb", "flow"), dropout=0.2, options={"batch_norm_momentum": 0.1}),
        optimiser=OptimiserConfig(lr=0.01, momentum=0.9, weight_decay=1e-7),
        schedule=ScheduleConfig(factor=0.3, patience=0, stop_lr=1e-3, warmup_steps=10),
        training=TrainingConfig(epochs=12, batch_size=8, clip_gradient=5.0),
        evaluation=EvaluationConfig(split="test", frames=None, val_frames=None, batch_size=8),
        resources=ResourcesConfig(workers=2, worker_cpus=0.25, loader_cpus=0.5),
        tracking=TrackingConfig(experiment="demo", registered_model="video-i3d-demo"),
    )


def demo_sweep() -> SweepConfig:
    """A sweep of temporal depth, stride and resolution for flow on the demo's shards: 2 * 2 * 2 = 8 short trials."""
    base = demo()
    return SweepConfig(
        base=replace(
            base,
            model=replace(base.model, streams=("flow",)),
            training=replace(base.training, epochs=3),
            resources=replace(base.resources, workers=1, loader_cpus=0.25),
            tracking=replace(base.tracking, experiment="demo-sweep"),
        ),
        scheduler="asha",
        axes={"clips.frames": "5,10", "clips.stride": "1,2", "clips.crop": "20,28"},
    )
