"""A training as one would do it today; of no paper, so that there is no number to compare with."""

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


def i3d_resnet50_modern() -> Config:
    """I3D on ResNet-50 from inflated ImageNet weights: bf16, AdamW, cosine with warm-up, EMA, smoothing, mixup.

    8 frames, 8 apart (the network is that of Non-local Neural Networks, Table 1); batches of 512,
    16 at a time, so that 240,000 clips are 468 steps an epoch, 5 epochs of warm-up 2,340 steps, and the average's
    decay of 0.9998 a memory of 5,000 steps, some 11 epochs. Batch-norm statistics are of 16 clips in a step and are
    taken anew from 200 batches a worker before each evaluation.
    """
    return Config(
        catalog=CatalogConfig(dataset="kinetics400"),
        ingest=IngestConfig(short_side=256, fps=25, streams=("rgb",)),
        clips=ClipsConfig(frames=8, stride=8, crop=224, flip=True),
        model=ModelConfig(name="i3d_resnet50", streams=("rgb",), dropout=0.5, levels="imagenet", inflate="resnet50"),
        optimiser=OptimiserConfig(name="adamw", lr=1e-3, momentum=0.9, beta2=0.999, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_steps=5 * 468, min_lr=1e-6),
        training=TrainingConfig(
            epochs=100,
            batch_size=16,
            clips_per_step=512,
            precision="bf16",
            clip_gradient=5.0,
            label_smoothing=0.1,
            mixup=0.2,
            average=0.9998,
            precise_batch_norm=200,
        ),
        evaluation=EvaluationConfig(split="val", val_frames=8),
        tracking=TrackingConfig(experiment="kinetics-pretrain", registered_model="video-i3d-resnet50"),
    )
