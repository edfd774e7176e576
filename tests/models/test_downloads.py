"""Weights from the web, served by this machine: whole or not at all, resumed, checked, shared by processes."""

import hashlib
import io
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torchvision

from pipeline.config import ConfigError, ModelConfig
from pipeline.models import imagenet_weights
from pipeline.models.downloads import download
from pipeline.networks import build_network
from pipeline.training.initial_weights import load_start, with_published
from tests.ingest.fetch.server import FileServer, certificate, chunked, cut, redirect, stall, status

CONTENT = bytes(range(256)) * 4000
NAME = f"/weights-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("pipeline.models.downloads.time.sleep", lambda seconds: None)


@pytest.fixture
def server():
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_fetched_once(server, tmp_path):
    url = server.put(NAME, CONTENT)
    assert download(url, tmp_path / "new").read_bytes() == CONTENT
    assert download(url, tmp_path / "new") == tmp_path / "new" / NAME[1:]
    assert len(server.asked) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == [NAME[1:]]


def test_a_transfer_that_breaks_off_or_stalls_goes_on_where_it_was(server, tmp_path):
    url = server.put(NAME, CONTENT, cut(300_000), stall(200_000))
    assert download(url, tmp_path, timeout_s=0.3).read_bytes() == CONTENT
    ranges = [headers.get("Range") for _, headers in server.asked]
    assert ranges[0] is None
    assert ranges[1] == "bytes=300000-"
    assert 300_000 < int(ranges[2].removeprefix("bytes=").removesuffix("-")) <= 500_000


def test_what_another_call_left_is_used_also_of_a_server_that_knows_no_ranges(server, tmp_path):
    url = server.put(NAME, CONTENT, cut(300_000))
    with pytest.raises(ConnectionError, match=r"cannot download http.*it broke off 724000 bytes before its end"):
        download(url, tmp_path, tries=1)
    assert not (tmp_path / NAME[1:]).exists()
    server.files[NAME].ranges = False
    assert download(url, tmp_path).read_bytes() == CONTENT


def test_a_redirect_leads_to_no_worse_place(server, monkeypatch, tmp_path):
    with pytest.raises(ConnectionError, match="leads from http to ftp://host/b"):
        download(server.put("/a.pth", b"", redirect("ftp://host/b")), tmp_path)
    path, context = certificate(tmp_path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    plain, server.base = server.base, server.base.replace("http:", "https:")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ConnectionError, match=rf"leads from https to {plain}/b\)"):
        download(server.put("/a.pth", b"", redirect(f"{plain}/b?token=secret")), tmp_path)
    assert [asked for asked, _ in server.asked] == ["/a.pth", "/a.pth"]


def test_a_file_without_an_end_is_refused(server, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.models.downloads.MOST_BYTES", 1 << 19)
    with pytest.raises(ConnectionError, match="it is larger than 0 MiB"):
        download(server.put(NAME, CONTENT, chunked()), tmp_path)
    assert [asked for asked, _ in server.asked] == [NAME]
    assert [file.stat().st_size for file in tmp_path.iterdir()] == [0]


def test_content_that_is_not_what_the_name_says_is_refused_and_forgotten(server, tmp_path):
    url = server.put(NAME, CONTENT[:-1] + b"x")
    with pytest.raises(ConnectionError, match="its content is not what its name says"):
        download(url, tmp_path)
    server.files[NAME].content = CONTENT
    assert download(url, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("steps", "reason", "asked"),
    [([status(404)], "Not Found", 1), ([status(503)] * 3, "Service Unavailable", 3), ([stall(0)] * 3, "timed out", 3)],
)
def test_what_cannot_be_had_is_one_line_in_bounded_time(server, tmp_path, steps, reason, asked):
    url = server.put(NAME, CONTENT, *steps)
    with pytest.raises(ConnectionError, match=f"^cannot download {url} .*{reason}.*$") as raised:
        download(url, tmp_path, timeout_s=0.2)
    assert "\n" not in str(raised.value)
    assert len(server.asked) == asked


def test_of_two_who_want_it_one_downloads(server, tmp_path):
    url, found = server.put(NAME, CONTENT), []
    threads = [threading.Thread(target=lambda: found.append(download(url, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == CONTENT for path in found] == [True] * 4
    assert len(server.asked) == 1


def test_imagenet_weights_come_from_torchvisions_address_into_its_folder(server, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    torch.save({"conv1.weight": torch.ones(2)}, buffer)
    content = buffer.getvalue()
    url = server.put(f"/models/resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth", content, status(404))
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: {"DEFAULT": SimpleNamespace(url=url)})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        ConnectionError,
        match=rf"cannot download {url} .*bring the file into .*checkpoints, or give its path instead of r",
    ):
        imagenet_weights("resnet18")
    assert imagenet_weights("resnet18")["conv1.weight"].tolist() == [1, 1]
    assert [path.parent.name for path in tmp_path.rglob("*.pth")] == ["checkpoints"]


def test_published_video_weights_come_by_name_the_same_way_and_fill_their_network(server, tmp_path, monkeypatch):
    config = ModelConfig(name="resnet3d18", streams=("rgb",), weights={"rgb": "r3d_18"}, levels="activitynet")
    model = with_published(config)
    assert (model.levels, model.options["shortcut"], model.options["stem_depth"]) == ("kinetics", "B", 3)
    torchvisions = torchvision.models.video.r3d_18(weights=None, num_classes=5)
    buffer = io.BytesIO()
    torch.save(torchvisions.state_dict(), buffer)
    content = buffer.getvalue()
    url = server.put(f"/models/r3d_18-{hashlib.sha256(content).hexdigest()[:8]}.pth", content, cut(30_000))
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: {"DEFAULT": SimpleNamespace(url=url)})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    network = build_network(model, "rgb", 3)
    load_start(model, "rgb", network)
    assert torch.equal(network.get_parameter("conv1.weight"), torchvisions.stem[0].weight)
    assert network.get_parameter("fc.weight").shape[0] == 3  # a new classifier
    asked = len(server.asked)
    load_start(model, "rgb", build_network(model, "rgb", 3))
    assert len(server.asked) == asked == 2  # once, resumed
    by_file = replace(config, weights={"rgb": str(next(tmp_path.rglob("r3d_18-*.pth")))})
    assert with_published(by_file).options == model.options


def test_published_weights_of_another_network_or_name_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"weights\.rgb: r3d_18 is of resnet3d18; give --model\.name resnet3d18"):
        with_published(ModelConfig(name="i3d", streams=("rgb",), weights={"rgb": "r3d_18"}))
    config = ModelConfig(name="resnet3d18", streams=("rgb",), weights={"rgb": "r3d18"})
    with pytest.raises(ConfigError, match=r"r3d18: no such file, run or published name; did you mean r3d_18"):
        load_start(config, "rgb", build_network(config, "rgb", 3))
