"""From a command line to what a run needs: config, networks, windows and clips."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.command_line import override
from pipeline.config import CatalogConfig, ClipsConfig, Config, ConfigError, EvaluationConfig, absolute
from pipeline.evaluation.protocols import Average, protocol_of
from pipeline.features.layers import named
from pipeline.features.loading import Loaded
from pipeline.features.plan import Wanted
from pipeline.features.results import FORMS, Form
from pipeline.features.videos import check_named, is_shard_set, named_catalog, stored_catalog
from pipeline.features.windows import Ends, Windows
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.stored import with_stored
from pipeline.ingest.stored_flow import STORED
from pipeline.models.registry import MODELS
from pipeline.runs.trained_networks import Source
from pipeline.shards import read_manifest

LONGEST_S = 6 * 3600.0
"""Longest video accepted, in seconds, unless `ingest.max_seconds` says otherwise; memory does not grow with length."""

VIDEOS_A_FILE = 256
"""Clips of a Parquet file of features, unless `ingest.clips_per_shard` says otherwise."""


@dataclass(frozen=True)
class Clips:
    """The clips of a run.

    Attributes:
        catalog: rows of `pipeline.catalog.CATALOG_SCHEMA`.
        config: the config; if the clips are in a shard set, with the settings of the set.
        shards: folder and digest of the shard set that has the clips; empty if they are decoded from their videos.
    """

    catalog: pa.Table
    config: Config
    shards: tuple[str, str] = ("", "")


def configured(source: Source | None, fields: Mapping[str, str], out: str) -> Config:
    """Return the config of a run; it is not resolved yet.

    Args:
        source: trained networks; None if `fields` name published weights.
        fields: fields that the command line sets.
        out: folder or URI of the results.

    Raises:
        ConfigError: a name or value is wrong.
    """
    base = Config()
    if source is not None:
        parts = {name: getattr(source.config, name) for name in ("ingest", "clips", "model", "evaluation")}
        base = replace(base, **parts, catalog=CatalogConfig())

    def adapt(values: dict[str, Any], given: Collection[str]) -> None:
        values["ingest"]["shards"] = out
        for name, value in (("max_seconds", LONGEST_S), ("clips_per_shard", VIDEOS_A_FILE)):
            if f"ingest.{name}" not in given:
                values["ingest"][name] = value
        if source is None:
            _of_paper(values, given)
        elif own := [stream for stream in ("rgb", "flow") if stream in source.weights]:
            values["model"]["streams"] = own
        if values["ingest"]["flow"]["backend"] == STORED and "ingest.flow.backend" not in given:
            values["ingest"]["flow"]["backend"] = "auto"  # the videos of this run have no flow pictures
        values["ingest"]["streams"] = values["model"]["streams"]

    return override(base, fields, adapt)


def _of_paper(values: dict[str, Any], given: Collection[str]) -> None:
    """Set what the command line leaves open as the network's paper has it."""
    model, clips = values["model"], values["clips"]
    if "model.streams" not in given and model["weights"]:
        model["streams"] = ["rgb", "flow"] if "two_stream" in model["weights"] else list(model["weights"])
    if (info := MODELS.get(model["name"])) is None:
        return
    _, frames, side = max(info.clips.values(), key=lambda clip: clip[1])
    for name, value in (("frames", frames), ("crop", side)):
        if f"clips.{name}" not in given:
            clips[name] = value
    if len(info.clips) == 2 and info.protocol == "two_stream" and "clips.rgb_every" not in given:
        clips["rgb_every"] = 10
    if info.protocol == "resnet3d" and "model.levels" not in given:
        model["levels"] = "activitynet"


def wanted_of(
    clips: ClipsConfig,
    evaluation: EvaluationConfig,
    loaded: Loaded,
    windows: tuple[int, int, int, Ends],
    layers: Sequence[str],
    crops: int = 1,
    pool: Any = "mean",
    form: Form = "parquet",
    batch_size: int = 8,
) -> Wanted:
    """Return what is wanted of each clip, checked against the networks.

    Args:
        clips: the windows of training.
        evaluation: the test of the networks.
        loaded: the networks.
        windows: frames, stride, step and ends; 0 for the number in the config.
        layers: names of layers.
        crops: number of crops.
        pool: mean or none.
        form: what is written.
        batch_size: see `Wanted`.

    Raises:
        ConfigError: a value has no meaning, a layer does not exist, or a network cannot take such windows.
    """
    frames, stride, step, ends = windows
    cut = Windows(frames or clips.frames, stride or clips.stride, step, ends)
    if cut.frames % clips.rgb_every:
        raise ConfigError(f"--frames {cut.frames}: clips.rgb_every, {clips.rgb_every}, must divide it")
    if form not in FORMS:
        raise ConfigError(f"--form {form}: one of {', '.join(FORMS)}")
    shapes = loaded.shapes(cut, clips)
    names: tuple[str, ...] = ()
    for known in shapes.values():
        names = named(layers, list(known))
    if not names:
        raise ConfigError("--layers: empty; --list-layers shows all")
    if form == "npy_joined" and (len(names) > 1 or pool == "none"):
        raise ConfigError("--form npy_joined: joins the streams of one layer, without maps")
    whole_side = protocol_of(evaluation, loaded.model).whole_side
    return Wanted(cut, names, pool, crops, form, batch_size, whole_side)


def average_of(evaluation: EvaluationConfig, loaded: Loaded) -> Average:
    """Return what the network's test averages over windows: logits or probabilities."""
    return protocol_of(evaluation, loaded.model).average


def clips_of(config: Config, given: Sequence[str], fields: Collection[str], plan: bool = False) -> Clips:
    """Return the clips that a command line names.

    Args:
        config: a resolved config; `config.ingest.shards` is the folder of the results.
        given: videos, folders, archives, lists and addresses, or one shard set.
        fields: names of the fields that the command line sets.
        plan: whether the clips are for a plan alone; see `configured_catalog`.

    Raises:
        ConfigError: nothing is named, or several things that exclude each other.
        CatalogError: a list or folder cannot be read.
        ShardError: the shard set is not complete.
    """
    check_named(given, [name for name in fields if name.startswith("catalog.")])
    places = [absolute(one, Path.cwd()) for one in given]
    if len(places) == 1 and is_shard_set(places[0]):
        own = [name for name in fields if not name.startswith("model.")]
        stored = with_stored(replace(config, ingest=replace(config.ingest, shards=places[0])), own)
        ingest = replace(
            stored.ingest,
            shards=config.ingest.shards,
            streams=config.ingest.streams,
            clips_per_shard=config.ingest.clips_per_shard,
            max_failed=config.ingest.max_failed,
        )
        digest = read_manifest(places[0])["digest"]
        return Clips(stored_catalog(places[0]), replace(config, ingest=ingest), (places[0], digest))
    if config.ingest.flow.backend == STORED and "flow" in config.ingest.streams:
        raise ConfigError(
            f"--ingest.flow.backend {STORED}: features of flow pictures come from a shard set; make one with "
            "jobs/ingest.py, and name it here"
        )
    catalog = named_catalog(places, config.ingest.fetch) if places else configured_catalog(config, plan)
    return Clips(catalog, config)
