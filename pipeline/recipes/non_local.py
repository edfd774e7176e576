"""Wang et al., Non-local Neural Networks (arXiv 1711.07971): the I3D baseline on ResNet-50, Table 1 and section 4."""

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


def i3d_resnet50_non_local() -> Config:
    """I3D-ResNet-50 from inflated ImageNet weights on Kinetics-400, section 4.1; pytorchvideo's reaches 73.3 top-1.

    8 frames, 8 apart, of 64 consecutive ones; crops of 224; dropout 0.5 before the classifier; SGD with momentum 0.9
    and weight decay 1e-4; 8 clips on each of 8 GPUs; 400k steps with a learning rate of 0.01, divided by 10 after every
    150k: 400,000 * 64 / 240,000 = 107 epochs. The test averages the softmax of 10 windows. Deviations: the shorter side
    is 256, where the paper draws it from 256 to 320 for each clip; the test shows three crops along the longer side,
    where the paper's network runs over the whole frame.
    """
    return Config(
        catalog=CatalogConfig(dataset="kinetics400"),
        ingest=IngestConfig(short_side=256, fps=25, streams=("rgb",)),
        clips=ClipsConfig(frames=8, stride=8, crop=224, flip=True),
        model=ModelConfig(name="i3d_resnet50", streams=("rgb",), dropout=0.5, levels="imagenet", inflate="resnet50"),
        optimiser=OptimiserConfig(lr=0.01, momentum=0.9, weight_decay=1e-4),
        schedule=ScheduleConfig(name="step", unit="steps", milestones=(150_000, 300_000)),
        training=TrainingConfig(epochs=107, steps=400_000, batch_size=8, clips_per_step=64),
        evaluation=EvaluationConfig(split="val", protocol="views", views=10, crops=3, val_frames=8),
        tracking=TrackingConfig(experiment="kinetics-pretrain", registered_model="video-i3d-resnet50-non-local"),
    )
