"""What decides the features of a run, which is written first; a folder with another plan is refused."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline import flow
from pipeline.clips.crops import evaluated_side
from pipeline.config import ClipsConfig, IngestConfig, flatten, to_dict
from pipeline.features.extraction import Cutting
from pipeline.features.layers import Pool
from pipeline.features.loading import Loaded
from pipeline.features.results import Form
from pipeline.features.windows import Windows
from pipeline.ingest.plan import PLAN, UNDECISIVE, catalog_digest
from pipeline.ingest.run_errors import IngestError
from pipeline.ingest.staging import STAGING
from pipeline.masking import masked
from pipeline.storage import exists, make_folder, read_json, write_json

_OF_SHARDS = (*UNDECISIVE, "crf", "min_psnr", "gop")  # settings of ingest that have no part in features


@dataclass(frozen=True)
class Wanted:
    """What is wanted of each clip.

    Attributes:
        windows: how windows are cut.
        layers: names of layers, as the networks spell them.
        pool: whether maps are averaged.
        crops: number of crops of each window.
        form: what is written.
        batch_size: largest number of views that a GPU takes at once.
        whole_side: whether the crop spans the shorter side, as in the test of 3D ResNets.
    """

    windows: Windows
    layers: tuple[str, ...]
    pool: Pool = "mean"
    crops: int = 1
    form: Form = "parquet"
    batch_size: int = 8
    whole_side: bool = False

    def cutting(self, clips: ClipsConfig, fps: int, streams: tuple[str, ...]) -> Cutting:
        """Return how views are cut from clips."""
        side = evaluated_side(clips, self.whole_side)
        return Cutting(self.windows, fps, side, clips.crop, self.crops, clips.rgb_every, streams, self.batch_size)


def plan_of(
    ingest: IngestConfig, clips: ClipsConfig, wanted: Wanted, loaded: Loaded, catalog: pa.Table, shards: str
) -> dict[str, Any]:
    """Return what decides the features: clips, networks, windows; no places and no numbers of workers.

    Args:
        ingest: how clips are decoded.
        clips: how views are cut from them.
        wanted: what is wanted of each clip.
        loaded: the networks.
        catalog: the clips.
        shards: digest of the shard set that has the clips; empty if they are decoded from videos.
    """
    settings = {name: value for name, value in to_dict(ingest).items() if name not in _OF_SHARDS}
    model = to_dict(loaded.model)
    cutting = wanted.cutting(clips, ingest.fps, loaded.streams)
    return {
        "dataset": catalog["dataset"][0].as_py(),
        "clips": len(catalog),
        "catalog_digest": catalog_digest(catalog),
        "shards": shards,
        "network": {name: model[name] for name in ("name", "options", "levels")},
        "weights": loaded.digest,
        "streams": list(loaded.streams),
        "windows": {name: getattr(wanted.windows, name) for name in ("frames", "stride", "step", "ends")},
        "short_side": cutting.short_side,
        "crop": cutting.crop,
        "crops": wanted.crops,
        "rgb_every": cutting.rgb_every,
        "layers": list(wanted.layers),
        "pool": wanted.pool,
        "form": wanted.form,
        "settings": settings,
        "flow_version": flow.version(ingest.flow.backend) if "flow" in loaded.streams and not shards else None,
    }


def claim(folder: str, plan: dict[str, Any]) -> None:
    """Write the plan, or check that the plan in the folder is the same.

    Raises:
        IngestError: the folder has another plan.
    """
    make_folder(f"{folder}/{STAGING}")
    if not exists(f"{folder}/{PLAN}"):
        write_json(f"{folder}/{PLAN}", masked(plan))
        return
    there = flatten(read_json(f"{folder}/{PLAN}"))
    for name, wanted in flatten(masked(plan)).items():
        if there.get(name) != wanted:
            raise IngestError(
                f"{folder}: made with {name} = {there.get(name)}, now asked for {wanted}; give another folder, or "
                "delete that one"
            )
