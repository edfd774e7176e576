"""Texts that are printed for a training, a plan or a test, such as accuracy and data."""

from pipeline.config import Config
from pipeline.runs.evaluate import Tested
from pipeline.runs.pretrain import Pretrained
from pipeline.runs.splits_in_turn import SplitsDone
from pipeline.runs.supervision_transfer import Transferred
from pipeline.runs.training_estimate import TrainingPlan
from pipeline.table import table


def pretrained(config: Config, result: Pretrained) -> str:
    """Describe the result of a training: accuracy of each stream and of the fusion, and the number of clips."""
    first = next(iter(result.accuracy.values()))
    rows: list[list[object]] = [["network", "top-1 %", "top-5 %", "clips"]]
    for name, worth in result.accuracy.items():
        rows.append([name.replace("_", "-"), f"{100 * worth.top1:.1f}", f"{100 * worth.top5:.1f}", worth.clips])
    lines = [
        "",
        f"{config.model.name} on {config.evaluation.split}, data digest {first.digest}, {first.missing} clips missing",
        table(rows),
        f"  run {result.name}: {result.folder}",
    ]
    if result.version is not None:
        registered = config.tracking.registered_model
        lines.append(f"  registered {registered} version {result.version} as {config.tracking.alias}")
    return "\n".join(lines)


def splits_in_turn(config: Config, result: SplitsDone) -> str:
    """Describe the result of the trainings on several splits or folds: accuracy on each, and the mean."""
    splits = dict(sorted(result.splits.items()))
    accuracy = next(iter(splits.values())).accuracy
    first = next(iter(accuracy.values()))
    rows: list[list[object]] = [["network", "split", "top-1 %", "top-5 %", "clips"]]
    for network in accuracy:
        name = network.replace("_", "-")
        for number, one in splits.items():
            worth = one.accuracy[network]
            rows.append([name, number, f"{100 * worth.top1:.1f}", f"{100 * worth.top5:.1f}", worth.clips])
        top1, top5 = (f"{100 * result.mean(network, measure):.1f}" for measure in ("top1", "top5"))
        rows.append([name, "mean", top1, top5, ""])
    numbers = ", ".join(map(str, splits))
    lines = [
        "",
        f"{config.model.name} on the {len(splits)} splits of {config.catalog.dataset}, data digest {first.digest}",
        table(rows),
        f"  run {result.name}: {result.folder}, and beside it {result.name}-split with {numbers}",
    ]
    versions = [one.version for one in splits.values() if one.version is not None]
    if versions:
        said = f"versions {', '.join(versions)}, of split {numbers}; the last of them as {config.tracking.alias}"
        lines.append(f"  registered {config.tracking.registered_model} {said}")
    return "\n".join(lines)


def planned(config: Config, plan: TrainingPlan, cores: float, trainings: int = 1) -> str:
    """Describe what a training would cost; `trainings` is the number of trainings like this one."""
    training, workers = config.training, config.resources.number_of_workers
    networks = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in plan.parameters.items())
    used = ", ".join(f"{count:,} {split}" for split, count in plan.clips.items())
    most = "" if training.steps is None else f", {training.steps:,} in all"
    time = (
        "how long on GPUs is not known"
        if plan.core_hours is None
        else f"some {plan.core_hours:,.1f} core-hours, {plan.core_hours / cores:,.1f} hours on {cores:g} cores"
    )
    return "\n".join(
        [
            "",
            f"{config.model.name}, parameters: {networks}; {plan.classes} classes; nothing has been done",
            f"  clips: {used}; windows of {config.clips.frames} frames of {config.clips.crop} x {config.clips.crop}",
            f"  steps of {config.clips_of_a_step} clips ({workers} worker{'s' * (workers > 1)} x "
            f"{training.accumulate} x {training.batch_size}): {plan.steps:,} an epoch{most}, "
            f"{plan.epochs:,} epochs at most",
            f"  {plan.gmacs:.3g} billion multiply-adds a clip: {time}, right to a factor of two",
            *([f"  {trainings} such trainings, one for each split"] if trainings > 1 else []),
        ]
    )


def transferred(network: str, result: Transferred) -> str:
    """Describe the result of a supervision transfer: the share of pairs that are told apart.

    Args:
        network: name of the 3D network.
        result: the result.
    """
    best = result.trained.best
    return "\n".join(
        [
            "",
            f"{network} by supervision transfer: {100 * best['val/top1']:.1f} % of {best['val/clips']:.0f} "
            f"pairs told apart (chance: 50), loss {best['val/loss']:.3f}",
            f"  run {result.name}: {result.student}",
        ]
    )


def evaluated(result: Tested, shown: int = 5) -> str:
    """Describe the result of a test: accuracy of each stream and of the fusion, clips, data, and the hardest pairs."""
    first = next(iter(result.analyses.values()))
    rows: list[list[object]] = [["network", "top-1 %", "top-5 %", "mean %", "class mean %", "ECE %", "clips"]]
    for name, one in result.analyses.items():
        worth = one.accuracy
        shares = [worth.top1, worth.top5, worth.mean, one.class_mean, one.calibration.error]
        rows.append([name.replace("_", "-"), *(f"{100 * share:.1f}" for share in shares), worth.clips])
    best = list(result.analyses.values())[-1]
    return "\n".join(
        [
            "",
            f"{result.title} on {result.scores.split}, data digest {first.accuracy.digest}, "
            f"{first.accuracy.missing} clips missing",
            result.scores.protocol,
            table(rows),
            *(f"  {pair.clips} of {pair.of} {pair.label}: said to be {pair.predicted}" for pair in best.pairs[:shown]),
            f"  scores {result.path}",
            f"  run {result.name}",
        ]
    )
