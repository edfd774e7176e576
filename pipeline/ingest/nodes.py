"""Nodes that do not see files which the driver has listed: each is found by a second look and named."""

import contextlib
import os
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.ingest.frames import frames_of, is_frames

UNSEEN = ("FileNotFound", "Unreadable")
"""Error classes of a listed file that may be the fault of the node, where its folder is not mounted or not readable."""

NODE_LABEL = "ray.io/node-id"  # the label by which Ray lets a task run on one node alone
LOOK_S = 60.0  # longest time in seconds that a node may take to look at a file


def node_id() -> str | None:
    """Return the id of the node of this process, or None if the process does not belong to a cluster."""
    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else None


def sees(source: str) -> bool:
    """Return whether this process can open a file, or list a folder of frames."""
    try:
        if is_frames(source):
            os.scandir(frames_of(source).folder).close()
            return True
        with open(source, "rb"):  # noqa: PTH123 - the path is the user's own
            return True
    except OSError:
        return False


def blind_nodes(source: str, cpus: float) -> list[str]:
    """Return the ids of the nodes that cannot open what this process can open; none if it cannot either.

    Args:
        source: path of a file, or `frames:...`, a folder of frames.
        cpus: CPUs that a node must have to be asked.
    """
    if not sees(source):
        return []
    look = ray.remote(num_cpus=0)(sees)
    there = {node: NodeAffinitySchedulingStrategy(node, soft=False) for node in _nodes(cpus)}
    answers = {node: look.options(scheduling_strategy=only).remote(source) for node, only in there.items()}
    ready, _ = ray.wait(list(answers.values()), num_returns=len(answers), timeout=LOOK_S)
    blind = []
    for node, answer in answers.items():
        with contextlib.suppress(ray.exceptions.RayError):  # the node has gone meanwhile
            if answer in ready and not ray.get(answer):
                blind.append(node)
    return blind


def another(than: list[str], cpus: float) -> str | None:
    """Return the id of a node that is not among some others and has enough CPUs, or None."""
    return next((node for node in _nodes(cpus) if node not in than), None)


def named(node: str) -> str:
    """Return the name of a node for a message: its host, its address and the beginning of its id."""
    facts: dict[str, Any] = next((facts for facts in ray.nodes() if facts["NodeID"] == node), {})
    return f"{facts.get('NodeManagerHostname')} ({facts.get('NodeManagerAddress')}, node id {node[:12]})"


def place(node: str | None) -> str:
    """Return words for a message that name the node where something happened; none if the cluster has one node."""
    return f", on the node {named(node)}" if node and len(_nodes(0)) > 1 else ""


def _nodes(cpus: float) -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= cpus]
