"""Carreira and Zisserman, Quo Vadis, Action Recognition? (arXiv 1705.07750)."""

from dataclasses import replace

from pipeline.config import (
    CatalogConfig,
    ClipsConfig,
    Config,
    EvaluationConfig,
    IngestConfig,
    ModelConfig,
    OptimiserConfig,
    ResourcesConfig,
    ScheduleConfig,
    SweepConfig,
    TrackingConfig,
    TrainingConfig,
)


def i3d_kinetics() -> Config:
    """Two-stream I3D on Kinetics-400 from scratch, section 2.5 and kinetics-i3d's README.

    64 frames at 25 a second, shorter side 256, random 224 crop and flip; SGD with momentum 0.9, learning rate 0.1,
    weight decay 1e-7, divided by 10 when the validation loss saturates; 6 clips a replica on 64 replicas.
    Deviations: DDP batch norm is per worker, as theirs was; epochs instead of 115k (RGB) and 155k (flow) steps:
    115,000 steps * 384 clips / 240,000 clips = 184 epochs.
    """
    return Config(
        catalog=CatalogConfig(dataset="kinetics400"),
        ingest=IngestConfig(short_side=256, fps=25),
        clips=ClipsConfig(frames=64, stride=1, crop=224, flip=True),
        model=ModelConfig(name="i3d", streams=("rgb", "flow"), dropout=0.5),
        optimiser=OptimiserConfig(lr=0.1, momentum=0.9, weight_decay=1e-7),
        schedule=ScheduleConfig(factor=0.1, patience=3, min_lr=1e-4),
        training=TrainingConfig(epochs=184, batch_size=6),
        evaluation=EvaluationConfig(split="val", frames=None),
        resources=ResourcesConfig(workers=64, worker_cpus=1.0, loader_cpus=1.0),
        tracking=TrackingConfig(experiment="kinetics-pretrain", registered_model="video-i3d-two-stream"),
    )


def i3d_sweep() -> SweepConfig:
    """Temporal depth, stride and resolution of I3D's RGB stream, 10 epochs a trial: 3 * 2 * 2 = 12 trials."""
    base = i3d_kinetics()
    return SweepConfig(
        base=replace(
            base,
            training=replace(base.training, epochs=10),
            resources=replace(base.resources, workers=8),
            tracking=replace(base.tracking, experiment="sweep-i3d"),
        ),
        stream="rgb",
        frames=(16, 32, 64),
        strides=(1, 2),
        crops=(112, 224),
        concurrent=4,
        grace_epochs=2,
    )
