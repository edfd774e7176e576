"""The plan of a shard set: everything that decides its content.

It is written into the set's folder first, and a folder with another plan is refused.
"""

import hashlib
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from pipeline.catalog.rows import drawn_split
from pipeline.config import IngestConfig, ResourcesConfig, flatten, to_dict
from pipeline.ingest.layout import LAYOUT
from pipeline.ingest.run_errors import IngestError
from pipeline.ingest.stages import recorded_flow
from pipeline.ingest.staging import STAGING
from pipeline.masking import masked
from pipeline.shards.codec import ENCODING
from pipeline.shards.digest import in_order
from pipeline.shards.manifest import MANIFEST
from pipeline.storage import exists, make_folder, read_json, write_json

PLAN = "_plan.json"
UNDECISIVE = ("shards", "max_failed", "decode_timeout_s", "memory_gib", "allow_leaks", "fetch")
"""Ingest settings that change where or how an ingest runs, but not the content of the set."""


def with_backend(ingest: IngestConfig, resources: ResourcesConfig) -> IngestConfig:
    """Return the settings of an ingest with the flow backend `auto` replaced by a definite one.

    It is the backend in the set's plan if there is one; otherwise cuda if there are GPUs, and cpu if there are none.

    Args:
        ingest: the settings of the ingest.
        resources: says whether GPUs may be used.

    Raises:
        IngestError: clips remain to be done with cuda, and the cluster has no GPU.
    """
    shards, asked, there = ingest.shards, ingest.flow.backend, gpus(resources)
    if asked == "auto":
        begun = read_json(f"{shards}/{PLAN}")["settings"]["flow"]["backend"] if exists(f"{shards}/{PLAN}") else None
        asked = begun or ("cuda" if there else "cpu")
    if asked == "cuda" and "flow" in ingest.streams and not there and not exists(f"{shards}/{MANIFEST}"):
        raise IngestError(
            f"{shards}: its flow is to be computed by cuda, and Ray has no GPU for it (resources.gpu is "
            f"{resources.gpu}); add one, or make another set with --ingest.flow.backend cpu --ingest.shards ..."
        )
    return replace(ingest, flow=replace(ingest.flow, backend=asked))


def gpus(resources: ResourcesConfig) -> int:
    """Return the number of GPUs that may compute flow."""
    return 0 if resources.gpu == "no" else int(ray.cluster_resources().get("GPU", 0))


def plan_of(ingest: IngestConfig, catalog: pa.Table) -> dict[str, Any]:
    """Return what decides the content of the set: clips and settings, but no locations and no numbers of workers."""
    settings = {name: value for name, value in to_dict(ingest).items() if name not in UNDECISIVE}
    return {
        "dataset": catalog["dataset"][0].as_py(),
        "clips": len(catalog),
        **({"split": drawn} if (drawn := drawn_split(catalog)) else {}),
        "catalog_digest": catalog_digest(catalog),
        "settings": settings,
        "layout": LAYOUT,
        "encoding": ENCODING,
        "flow_version": recorded_flow(ingest)["flow_version"] if "flow" in ingest.streams else None,
    }


def write_plan(shards: str, plan: dict[str, Any]) -> None:
    """Write the plan into the folder of the set."""
    write_json(f"{shards}/{PLAN}", masked(plan))


def catalog_digest(catalog: pa.Table) -> str:
    """Return the digest of the clips of a catalog with their splits and labels, in any order."""
    columns = (catalog[name].cast(pa.large_string()).fill_null("None") for name in ("clip_id", "split", "label"))
    total = hashlib.sha256()
    for number, some in enumerate(in_order(pc.binary_join_element_wise(*columns, pa.scalar("\t", pa.large_string())))):
        total.update("\n".join(["", *some] if number else some).encode())
    return total.hexdigest()[:16]


def claim(shards: str, plan: dict[str, Any]) -> None:
    """Write the plan, or check that the plan in the folder is the same.

    Raises:
        IngestError: the folder has another plan.
    """
    complete = exists(f"{shards}/{MANIFEST}")
    if not complete:
        make_folder(f"{shards}/{STAGING}")
    if not exists(f"{shards}/{PLAN}"):
        write_plan(shards, plan)
        return
    there = flatten(read_json(f"{shards}/{PLAN}"))
    for name, wanted in flatten(masked(plan)).items():
        if name in ("layout", "encoding", "flow_version") and complete:  # no clips will be added to the set
            continue
        if there.get(name) == wanted:
            continue
        if name == "layout":
            raise IngestError(
                f"{shards}: an earlier version of this program began it, and this one cannot go on from there; "
                "delete that folder, or give another --ingest.shards"
            )
        raise IngestError(
            f"{shards}: made with {name} = {there.get(name)}, now asked for {wanted}; "
            "give another --ingest.shards, or delete that folder"
        )
