"""A training with current methods; it follows no paper, so there is no published accuracy to compare with."""

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

    Windows are 8 frames, 8 apart (the network is that of Non-local Neural Networks, Table 1). A step has 512 clips, 16
    at a time, so 240,000 clips make 468 steps per epoch, and 5 epochs of warm-up are 2,340 steps. The moving average of
    the weights has a decay of 0.9998, so it spans 5,000 steps or about 11 epochs. Batch-norm statistics in training are
    of 16 clips; before each evaluation they are computed again from 200 batches per worker.
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
