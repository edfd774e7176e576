"""What a run makes of the clips of a catalog: shards of encoded clips, or anything else that is staged clip by clip.

`ray_pipeline.Pipeline` and `shard_task.ShardTask` bring clips to a product and keep the protocol of `staging.py`. So
every product is made exactly once, and a run that is killed goes on where it stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import flow
from pipeline.config import IngestConfig, ResourcesConfig
from pipeline.ingest.gpu_flow import on_gpus
from pipeline.ingest.plan import gpus
from pipeline.ingest.stages import Row, Stage, make_convert
from pipeline.ingest.staging import make_store
from pipeline.ingest.write_shards import write_shard

Join = Callable[[str, str, Sequence[str | dict[str, Any]]], None]


@dataclass(frozen=True)
class Product:
    """What is made of each clip, and how it is kept; it is pickled to the tasks.

    Attributes:
        work: stage from a clip to what is stored of it; an exception becomes the status of the clip.
        store: function of the folder of a shard's staged clips. It returns the stage that writes a row to a file of its
            own and returns a status row, as `pipeline.ingest.staging.make_store` does.
        join: function that makes a shard of its staged clips, as `pipeline.ingest.write_shards.write_shard` does.
    """

    work: Stage
    store: Callable[[str], Callable[[Row], Row]] = make_store
    join: Join = write_shard


def encoded_clips(ingest: IngestConfig, resources: ResourcesConfig) -> Product:
    """Return the product of ingest: clips that are encoded with their flow, which GPUs compute if there are any."""
    return Product(make_convert(ingest, flow_of(ingest, resources)))


def flow_of(ingest: IngestConfig, resources: ResourcesConfig, gpus_each: float = 1.0) -> Callable[..., Any]:
    """Return `pipeline.flow.tvl1`, or a function with the same arguments that computes the flow on the GPUs.

    Args:
        ingest: whether flow is stored, and what computes it.
        resources: which GPUs there are to use, with which memory.
        gpus_each: share of each GPU that the flow reserves.
    """
    devices = gpus(resources) if "flow" in ingest.streams and ingest.flow.backend == "cuda" else 0
    return on_gpus(devices, resources.flow_gpu_gib, gpus_each) if devices else flow.tvl1
