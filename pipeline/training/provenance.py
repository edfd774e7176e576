"""What a training's weights will be of: its classes, its data, and the input that its network is given."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import Config
from pipeline.models.weights import Provenance
from pipeline.networks import BOTH

INPUT = ("frames", "stride", "fps", "short_side", "crop", "rgb_every")


def provenance_of(config: Config, stream: str, manifest: Mapping[str, Any]) -> Provenance:
    """The provenance of a network that is trained on a shard set.

    Args:
        config: resolved.
        stream: rgb, flow, two_stream, or matching, whose network has no classes.
        manifest: the manifest of the shard set.
    """
    return Provenance(
        labels=tuple(manifest["labels"]) if stream in ("rgb", "flow", BOTH) else (),
        dataset=str(manifest["dataset"]),
        digest=manifest["digest"],
        model=config.model.name,
        stream=stream,
        input=_input(config, stream, manifest.get("plan", {}).get("settings", {})),
    )


def _input(config: Config, stream: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """What the network is given; `stored` is how the clips were stored, which is otherwise the config's."""
    clips, ingest = config.clips, config.ingest
    side, flow = stored.get("short_side", ingest.short_side), stored.get("flow") or {}
    expected: dict[str, Any] = {
        "frames": clips.frames,
        "stride": clips.stride,
        "fps": stored.get("fps", ingest.fps),
        "stored_side": side,
        "short_side": clips.short_side or side,
        "crop": clips.crop,
    }
    if stream == BOTH:
        expected["rgb_every"] = clips.rgb_every
    if stream != "flow":
        expected["levels"] = config.model.levels
    if stream in ("flow", BOTH):
        expected["flow_bound"] = flow.get("bound", ingest.flow.bound)
        expected["flow_backend"] = flow.get("backend", ingest.flow.backend)
    return expected


def other_input(expected: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """How the input that weights expect differs from the one that their network is given; empty where it does not.

    Levels are not among it: weights do not work on others, and these are refused. Of flow counts how far the bound is
    in shares of the picture; which backend computed it does not count.
    """
    pairs = [(name, expected.get(name), given.get(name)) for name in INPUT]
    if _share(expected) != _share(given):
        pairs.append(("flow_bound", _bound(expected), _bound(given)))
    differ = [(name, one, other) for name, one, other in pairs if one != other and None not in (one, other)]
    return "; ".join(f"{name} {one}, here {other}" for name, one, other in differ)


def _bound(given: Mapping[str, Any]) -> str | None:
    return f"{given['flow_bound']:g} of {given['stored_side']} pixels" if _share(given) else None


def _share(given: Mapping[str, Any]) -> float | None:
    bound, side = given.get("flow_bound"), given.get("stored_side")
    return round(bound / side, 4) if bound and side else None
