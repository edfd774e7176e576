"""The model card, in Markdown: what a registered model is, its data, and what it was not tested for.

It follows Mitchell et al., Model Cards for Model Reporting (arXiv 1810.03993). Every number in it is of this run. Names
from the data and from the config are escaped, so that a reader's browser loads and runs nothing.
"""

import shlex
from collections.abc import Mapping
from typing import Any

from pipeline.config import Config, IngestConfig, ModelConfig, ScheduleConfig, TrackingConfig, TrainingConfig
from pipeline.escaping import MESSAGE, as_code, for_markdown
from pipeline.evaluation.analysis import Analysis
from pipeline.evaluation.scores import Scores
from pipeline.networks import network_inputs
from pipeline.shards.splits import splits_in
from pipeline.tracking.notes import pipes
from pipeline.tracking.runs import Run
from pipeline.training.classes import some
from pipeline.training.splits import unseen
from pipeline.training.trainer import Trained

SHOWN = 40  # largest number of classes that are listed
_MODES = {
    "full": "all of it trained on",
    "fixed": "a new classifier trained on its frozen features",
    "last_block": "conv5_x and classifier trained on",
    "none": "trained on from there",
}


def model_card(
    config: Config,
    run: Run,
    manifest: Mapping[str, Any],
    trained: Mapping[str, Trained],
    scores: Scores,
    analyses: Mapping[str, Analysis],
) -> str:
    """Write the card of the model that a run has trained.

    Args:
        config: the resolved config.
        run: the MLflow run that trained the model.
        manifest: manifest of the shard set.
        trained: the trained networks by name.
        scores: scores of the test.
        analyses: analyses of every stream and, last, of the fusion.
    """
    sections = [
        _what(config.model, config.tracking, manifest, scores),
        _accuracy(scores, analyses),
        _data(config, manifest),
        _training(config, trained),
        _limits(config, manifest, scores),
        _use(config.ingest, config.tracking),
        _lineage(config, run, manifest, trained),
    ]
    return "\n".join(line for section in sections for line in (*section, ""))


def _what(model: ModelConfig, tracking: TrackingConfig, manifest: Mapping[str, Any], scores: Scores) -> list[str]:
    streams = " and ".join("RGB" if stream == "rgb" else "TV-L1 flow" for stream in model.streams)
    both = len(model.streams) > 1 and "two_stream" not in network_inputs(model)
    networks = f"{as_code(model.name)}, a network on each of {streams}; their scores are averaged" if both else (
        f"{as_code(model.name)} on {streams}"
    )  # fmt: skip
    return [
        f"# {for_markdown(tracking.registered_model)}",
        "",
        f"Video in, actions out: {networks}. Trained on {for_markdown(manifest['dataset'])}, "
        f"{len(scores.labels)} classes.",
    ]


def _accuracy(scores: Scores, analyses: Mapping[str, Analysis]) -> list[str]:
    rows = [
        [
            name.replace("_", "-"), *(f"{100 * share:.1f}" for share in (
                one.accuracy.top1, one.accuracy.top5, one.class_mean, one.calibration.error)),
            str(one.accuracy.clips), str(one.accuracy.missing),
        ]
        for name, one in analyses.items()
    ]  # fmt: skip
    head = ["network", "top-1 %", "top-5 %", "class mean %", "calibration error %", "clips", "missing"]
    return [
        "## Accuracy",
        "",
        f"On all clips of split {as_code(scores.split)} that could be read, each counted once. "
        f"Protocol: {for_markdown(scores.protocol, MESSAGE)}.",
        f"One guess in {len(scores.labels)} would be right by chance.",
        "",
        *pipes([head, *rows]),
    ]


def _data(config: Config, manifest: Mapping[str, Any]) -> list[str]:
    training, tested = config.training, config.evaluation.split
    decides = ", ".join(_decides(config.schedule, training)) or "decides nothing"
    used = {training.val_split: f"validation ({decides})"}
    used[tested] = " and ".join(filter(None, [used.get(tested), "test"]))
    share = "" if training.train_fraction == 1 else f" ({training.train_fraction:.4g} of each class)"
    used[training.train_split] = " and ".join(filter(None, [f"training{share}", used.get(training.train_split)]))
    rows = []
    for part, counts in manifest["splits"].items():
        uses = "; ".join(used[split] for split in splits_in(part) if split in used)
        kinds = sorted(counts["failed"].items(), key=lambda pair: -pair[1])
        failed = ", ".join(f"{count} {for_markdown(kind)}" for kind, count in kinds[:SHOWN]) or "0"
        rows.append([for_markdown(part), uses or "-", str(counts["expected"]), str(counts["present"]), failed])
    ingest = config.ingest
    flow = f" Flow: {for_markdown(manifest['plan'].get('flow_version') or 'TV-L1')}, bound {ingest.flow.bound:g} px."
    return [
        "## Data",
        "",
        f"{as_code(manifest['dataset'])}, digest {as_code(manifest['digest'])}, in {as_code(config.ingest.shards)}. "
        f"Clips are stored at "
        f"{ingest.fps} frames a second, short side {ingest.short_side}.{flow if 'flow' in ingest.streams else ''}",
        "The data card is `data/data_card.html` of the run.",
        *_drawn(manifest["plan"].get("split")),
        "",
        *pipes([["split", "used for", "expected", "readable", "failed"], *rows]),
    ]


def _drawn(split: Mapping[str, Any] | None) -> list[str]:
    """Say how the splits were drawn; nothing if they come with the data set."""
    if not split:
        return []
    units = f"groups (file of digest {as_code(split['groups'])})" if split.get("groups") else "clips"
    fold, rest = split.get("fold"), ""
    shares = []
    if fold == "all":
        shares, rest = ["each fold is the test in turn"], " of the rest"
    elif fold:
        shares, rest = [f"fold {for_markdown(fold)} is the test"], " of the rest"
    elif split["test_fraction"]:  # if it is 0, the folder has its own test, or there is none
        shares = [f"the test has {100 * split['test_fraction']:g} %"]
    shares.append(f"the validation has {100 * split['val_fraction']:g} %{rest}")
    return [f"Splits are drawn by {units}, seed {split['seed']}: {', '.join(shares)}."]


def _decides(schedule: ScheduleConfig, training: TrainingConfig) -> list[str]:
    """Say what the validation split decides."""
    steers = ["steers the learning rate"] if schedule.name == "plateau" else []
    return steers + (["picks the checkpoint"] if training.keep == "best" else [])


def _training(config: Config, trained: Mapping[str, Trained]) -> list[str]:
    optimiser, training, clips = config.optimiser, config.training, config.clips
    lines = [
        "## Training",
        "",
        f"Recipe {as_code(config.recipe or 'none')}; every field is in `config.yaml` of the run. "
        f"{optimiser.name.upper()}, learning rate {optimiser.lr:g}, batch {config.clips_of_a_step}, "
        f"{f'{clips.segments} ' if clips.segments > 1 else ''}windows of {clips.frames} frames of "
        f"{clips.crop} x {clips.crop} with stride {clips.stride}, "
        f"seed {config.seed}.",
        "",
    ]
    for name, one in trained.items():
        best, epochs = one.best, len(one.history)
        lines.append(
            f"- `{name}`: {_origin(config.model, name)}; {epochs} epoch{'s' if epochs > 1 else ''}; the checkpoint "
            f"taken has {100 * best['val/top1']:.1f} % of {best['val/clips']:.0f} clips of "
            f"{as_code(training.val_split)}, loss {best['val/loss']:.3f}"
        )
    return lines


def _origin(model: ModelConfig, name: str) -> str:
    """Say where a network's initial weights come from."""
    if name in model.weights:
        return f"from {as_code(model.weights[name])}, {_MODES.get(model.fine_tune, model.fine_tune)}"
    if model.inflate:
        return f"inflated from 2D weights of ImageNet ({as_code(model.inflate)})"
    return "from scratch"


def _limits(config: Config, manifest: Mapping[str, Any], scores: Scores) -> list[str]:
    labels = ", ".join(map(for_markdown, scores.labels[:SHOWN]))
    more = f", and {len(scores.labels) - SHOWN} more (`model.json`)" if len(scores.labels) > SHOWN else ""
    split, training = config.evaluation.split, config.training
    decides = bool(_decides(config.schedule, training))
    tuned = split == training.train_split or (split == training.val_split and decides)
    counts = manifest["splits"].values()
    failed = sum(each["expected"] - each["present"] for each in counts)
    untrained = unseen(manifest, training.train_split)
    known = [name for name in manifest["labels"] if name not in untrained]
    return [
        "## Limits",
        "",
        f"- It knows {len(scores.labels)} classes and names the likeliest of them for any video, also for one that "
        f"shows none: {labels}{more}.",
        f"- Tested on {as_code(manifest['dataset'])}, split {as_code(scores.split)}, alone: on no "
        "other data set, camera, place or group of people, and not against attacks.",
        *(["- The test split also trained the network or decided over its training: the accuracy is an optimistic one."]
          if tuned else []),
        *([f"- No training clip shows {for_markdown(some(untrained, known), MESSAGE)}: it cannot name them."]
          if untrained else []),
        *([f"- {failed} clips of the data could not be read and are in no number."] if failed else []),
        f"- It expects a clip that was cut to one action, at most {config.ingest.max_seconds:g} s; sound is not used. "
        "In longer videos it does not say when.",
        "- Licence of the videos and of the weights it began with, and consent of the people in them: not checked.",
    ]  # fmt: skip


def _use(ingest: IngestConfig, tracking: TrackingConfig) -> list[str]:
    uri = f"models:/{tracking.registered_model}@{tracking.alias}"
    return [
        "## Use",
        "",
        "```",
        shlex.join(["video-actions", "predict", "VIDEO", "--model", uri, "--tracking", tracking.uri]),
        "```",
        "",
        "```python",
        f'mlflow.pyfunc.load_model("{uri}").predict([open("clip.mp4", "rb").read()])',
        "```",
        "",
        "Any container and codec that FFmpeg reads. Rate, size, flow, crop and views are those of the test.",
        "",
        "Each video has an answer of `labels`, `probabilities` and `error`, which is null or one line. `params`: "
        "`top_k`, `views` (windows spread evenly over the video instead of the views of the test, so that long videos "
        f"are answered sooner), `crops` of each of these. A video may have {ingest.max_seconds:g} s, and take "
        f"{ingest.decode_timeout_s:g} s to decode. `mlflow models serve` gives up after 60 s; set "
        "`MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT` for long videos. A GPU is used where there is one.",
    ]


def _lineage(config: Config, run: Run, manifest: Mapping[str, Any], trained: Mapping[str, Trained]) -> list[str]:
    return [
        "## Lineage",
        "",
        f"- shards {as_code(config.ingest.shards)}, digest {as_code(manifest['digest'])}: inputs of the run",
        f"- run {as_code(config.name)}, id `{run.run_id}`: configuration, environment, curves, confusion, clips",
        *(f"- `{name}`: checkpoint {as_code(one.checkpoint)}" for name, one in trained.items()),
        f"- alias {as_code(config.tracking.alias)}: moved to this version when it was registered",
    ]
