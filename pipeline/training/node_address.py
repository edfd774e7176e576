"""The network interface on which the workers of a training reach each other: the one that has the node's Ray address.

Gloo offers its peers the address that the host's own name resolves to. On Debian and Ubuntu this is 127.0.1.1, where no
other machine finds it, and in many networks the name resolves to nothing. Ray knows under which address the other nodes
reach a node. `GLOO_SOCKET_IFNAME` and `NCCL_SOCKET_IFNAME`, where the operator has set them, are left as they are.
"""

import os
from contextlib import suppress
from typing import Any

import psutil
import ray.exceptions
import ray.util
from ray.train.torch import TorchConfig


class OnNodeAddress(TorchConfig):
    """Torch's process group on the interface that has the node's Ray address."""

    @property
    def backend_cls(self) -> type:
        """The class that sets up the process group."""
        return _Backend


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        try:
            worker_group.execute(use_node_address)
            super().on_start(worker_group, backend_config)
        except Exception:  # Ray Train would leave the room of these workers taken, and start the next without room
            worker_group.abort()
            raise

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        with suppress(ray.exceptions.OutOfMemoryError):  # Ray Train expects dead workers here, but not this death
            super().on_shutdown(worker_group, backend_config)


def use_node_address() -> None:
    """Tell Gloo and NCCL of this process which interface to use, unless its environment says so already."""
    if name := interface_of(ray.util.get_node_ip_address()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")  # NCCL takes a name without = for a prefix


def interface_of(address: str) -> str | None:
    """Return the name of the network interface that has an address, IPv4 or IPv6; None if this machine has none."""
    for name, found in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in found):
            return name
    return None
