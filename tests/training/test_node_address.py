"""Workers reach each other under the addresses that Ray knows, whatever the host's own name resolves to."""

import os
import socket

import pytest

from pipeline.training import node_address
from pipeline.training.node_address import interface_of, use_node_address


def test_the_interface_of_an_address():
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") is None  # an address of documentation, which no machine has
    names = {name for _, name in socket.if_nameindex()}
    assert interface_of("127.0.0.1") in names


@pytest.mark.parametrize("given", [{}, {"GLOO_SOCKET_IFNAME": "ib0"}, {"NCCL_SOCKET_IFNAME": "ib0"}])
def test_what_the_operator_has_set_stays(given, monkeypatch):
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(node_address.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    use_node_address()
    assert os.environ["GLOO_SOCKET_IFNAME"] == given.get("GLOO_SOCKET_IFNAME", "lo")
    assert os.environ["NCCL_SOCKET_IFNAME"] == given.get("NCCL_SOCKET_IFNAME", "=lo")
