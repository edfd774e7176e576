"""The provenance of a training's weights: the classes, the data, and the input that the network is given."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import Config
from pipeline.models.weights import Provenance
from pipeline.networks import BOTH

INPUT = ("frames", "stride", "fps", "short_side", "crop", "rgb_every")


def provenance_of(config: Config, stream: str, manifest: Mapping[str, Any]) -> Provenance:
    """Return the provenance of a network that is trained on a shard set.

    Args:
        config: the resolved config.
        stream: the name of the network: rgb, flow, two_stream, or matching, which has no classes.
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
    """Describe the network's input; `stored` says how the clips were stored, the config fills in what it lacks."""
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
    """Describe how the input that weights expect differs from what their network is given; empty if it does not.

    Levels are not compared here, because weights with other levels do not work and are refused elsewhere. For flow, the
    bound is compared as a share of the frame's shorter side; the backend that computed it is not compared.
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
