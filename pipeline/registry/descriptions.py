"""Descriptions of training and test runs for MLflow: what the run is, its results, and the next commands."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config import Config
from pipeline.escaping import MESSAGE, as_code, for_markdown
from pipeline.evaluation.analysis import Analysis
from pipeline.evaluation.scores import Scores
from pipeline.networks import network_inputs
from pipeline.shards.splits import counts_of
from pipeline.tracking.addresses import version_path
from pipeline.tracking.notes import Paragraph, commands, pipes
from pipeline.training.trainer import Trained

WHERE = (
    "Each network has a run below this one, with its curves and what its machine did. Among the artifacts: the data "
    "card (`data/`), curves (`curves/`), the test of each network and of the fusion (`test/`), clips taken for others "
    "(`misclassified/`), and where the networks look (`attention/`)."
)


def training_note(
    config: Config,
    dataset: str,
    data: str,
    worth: Mapping[str, Analysis] | None = None,
    version: str | None = None,
) -> list[Paragraph]:
    """Describe a whole training; without `worth`, as one that is still running.

    Args:
        config: the resolved config.
        dataset: name of the data set.
        data: its description, as `data_line` returns it.
        worth: analyses of every stream and, last, of the fusion.
        version: version of the registered model, if there is one.
    """
    networks = " and ".join(f"`{name}`" for name in network_inputs(config.model))
    recipe = f", recipe `{config.recipe}`" if config.recipe else ""
    tracking, name, model = config.tracking, config.name, config.tracking.registered_model
    about = f"**{config.model.name}** ({networks}) trained on {as_code(dataset)}{recipe}"
    if worth is None:
        again = f"Where it is interrupted, `--resume {name}` goes on with it."
        return [f"{about}.", data, again, WHERE]
    shares = ", ".join(f"{each.replace('_', '-')} {100 * one.accuracy.top1:.1f} %" for each, one in worth.items())
    note: list[Paragraph] = [f"{about}. Test, top-1: **{shares}**.", data, accuracies(worth)]
    next_steps = [["python", "jobs/evaluate.py", "--run", name, "--storage", config.storage]]
    if version is not None:
        note.append(f"Registered as [`{model}` version {version}]({version_path(model, version)}).")
        uri = f"models:/{model}/{version}"
        next_steps.insert(0, ["python", "jobs/predict.py", "VIDEO", "--model", uri, "--tracking", tracking.uri])
    return [*note, commands(*next_steps), WHERE]


def result_line(trained: Trained, val_split: str) -> str:
    """Say which checkpoint of a trained network is kept, and how it did on the validation split."""
    best, epochs = trained.best, len(trained.history)
    count = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    return (
        f"After {count} the checkpoint that is kept, `{trained.checkpoint}`, has {100 * best['val/top1']:.1f} % of "
        f"{best['val/clips']:.0f} clips of `{val_split}`, loss {best['val/loss']:.3f}."
    )


def tested_note(title: str, scores: Scores, worth: Mapping[str, Analysis]) -> list[Paragraph]:
    """Describe a test."""
    return [
        f"Test of {as_code(title)} on split {as_code(scores.split)}, data digest {as_code(scores.digest)}, "
        f"{scores.missing} clips missing. Protocol: {for_markdown(scores.protocol, MESSAGE)}.",
        accuracies(worth),
    ]


def accuracies(worth: Mapping[str, Analysis]) -> list[str]:
    """Return a Markdown table of accuracies, with one row per network."""
    rows: list[Sequence[object]] = [["network", "top-1 %", "top-5 %", "clips"]]
    for name, one in worth.items():
        accuracy = one.accuracy
        rows.append(
            [name.replace("_", "-"), f"{100 * accuracy.top1:.1f}", f"{100 * accuracy.top5:.1f}", accuracy.clips]
        )
    return pipes(rows)


def data_line(config: Config, manifest: Mapping[str, Any]) -> str:
    """Say which shard set is used, and for what and with how many clips each split is used."""
    used = {config.training.train_split: "trains", config.training.val_split: "validates"}
    used[config.evaluation.split] = " and ".join(filter(None, [used.get(config.evaluation.split), "tests"]))
    counts = [
        f"{as_code(split)} ({counts_of(manifest, split)['present']} clips) {what}" for split, what in used.items()
    ]
    return f"Data: {as_code(config.ingest.shards)}, digest {as_code(manifest['digest'])}: {', '.join(counts)}."
