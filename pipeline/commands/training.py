"""The common part of pretraining and fine-tuning: parse, ingest missing clips, train, print the result."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pipeline.command_line import given, one_line_errors, parse, planning
from pipeline.commands.pages import pages
from pipeline.config import Config
from pipeline.masking import masked
from pipeline.next_command import command, next_steps, spoken
from pipeline.submission import resolve


def train(verb: str, argv: Sequence[str] | None, recipes: Mapping[str, Callable[[], Config]], doc: str | None) -> None:
    """Train every network of a config, from a list of clips to a registered model.

    Args:
        verb: the command's name in `video-actions`.
        argv: arguments without the program's name; `sys.argv[1:]` when None.
        recipes: maps each recipe's name to its function; the first is the default.
        doc: the command's docstring, printed by `--help`.
    """
    words, plan = planning(argv)
    with one_line_errors():
        config = resolve(parse(Config, recipes, words, spoken(doc), trained_stored))
        from pipeline.runs.prepare import planned, prepared
        from pipeline.runs.pretrain import check, pretrain
        from pipeline.runs.splits_in_turn import train_splits
        from pipeline.runs.summary import pretrained, splits_in_turn

        if plan:
            print(planned(config, given(words)))
            print(next_steps(command(verb, *words)))
            return
        config = prepared(config, given(words), check)
        if config.catalog.in_turn:
            splits = train_splits(config)
            run, text = splits.run, splits_in_turn(config, splits)
        else:
            result = pretrain(config)
            run, text = result.run, pretrained(config, result)
        print(masked(text))
        if config.tracking.registered_model:
            model = f"models:/{config.tracking.registered_model}@{config.tracking.alias}"
            look = command("predict", "VIDEO", "--model", model, "--tracking", config.tracking.uri)
            print(next_steps(*pages(run), look))


def trained_stored(values: dict[str, Any], given: Collection[str]) -> None:
    """Also store the streams to be trained, if the command line sets those but not which streams are stored."""
    if "model.streams" in given and "ingest.streams" not in given:
        stored = [*values["ingest"]["streams"], *values["model"]["streams"]]
        values["ingest"]["streams"] = [stream for stream in ("rgb", "flow") if stream in stored]
