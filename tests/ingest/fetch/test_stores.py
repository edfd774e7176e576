"""Whole files from the local disk, a web server and an S3 service, and what each says where it has none."""

import os
import socket

import pytest

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import (
    BadRow,
    FileNotFound,
    Forbidden,
    Network,
    TooLarge,
    Unreadable,
    ZeroByte,
)
from pipeline.ingest.fetch import stores
from pipeline.ingest.fetch.stores import fetch, open_source
from tests.ingest.fetch.server import chunked, serve, stall, status

SETTINGS = FetchConfig(max_mib=1, tries=2)
MIB = bytes(1 << 20)


@pytest.fixture(params=["local", "file", "http", "chunked", "s3"])
def put(request, tmp_path):
    """A function that puts content at a place of one kind and gives its address."""
    if request.param in ("http", "chunked"):
        server = request.getfixturevalue("server")
        steps = [chunked()] if request.param == "chunked" else []
        return lambda content: server.put("/a%20file.mp4", content, *steps)
    if request.param == "s3":
        client, address = request.getfixturevalue("s3")

        def put_object(content):
            client.put_object(Bucket="clips", Key="deep/a file.mp4", Body=content)
            return address("clips/deep/a%20file.mp4")

        return put_object

    def write(content):
        path = tmp_path / "a file.mp4"
        path.write_bytes(content)
        return path.as_uri() if request.param == "file" else str(path)

    return write


def test_a_file_comes_whole_from_anywhere(put, clips_dir):
    content = (clips_dir / "arm_wrestling.mp4").read_bytes()
    assert fetch(put(content), SETTINGS) == content
    with open_source(put(content), SETTINGS) as file:
        assert file.read(10) == content[:10]
        assert file.tell() == 10
        assert file.read() == content[10:]


def test_an_address_may_have_the_name_of_a_file_as_it_is(tmp_path, s3):
    client, address = s3
    for name in ("a b", "ä+b", "100% sure", "[1]"):
        client.put_object(Bucket="clips", Key=f"plain/{name}.mp4", Body=name.encode())
        (tmp_path / f"{name}.mp4").write_text(name)
    for name in ("a b", "ä+b", "[1]"):  # a percent sign alone is %25, as in every address
        assert fetch(address(f"clips/plain/{name}.mp4"), SETTINGS) == name.encode()
        assert fetch(f"file://{tmp_path}/{name}.mp4", SETTINGS) == name.encode()
    assert fetch(address("clips/plain/100%25 sure.mp4"), SETTINGS) == b"100% sure"


def test_a_file_is_neither_empty_nor_too_large(put):
    assert fetch(put(MIB), SETTINGS) == MIB
    with pytest.raises(TooLarge, match=r"a( |%20)file\.mp4: more than 1 MiB \(ingest\.fetch\.max_mib\)"):
        fetch(put(MIB + b"x"), SETTINGS)
    with pytest.raises(ZeroByte, match=r"file\.mp4: nothing is in it"):
        fetch(put(b""), SETTINGS)


def test_what_is_no_file_of_this_machine(tmp_path):
    with pytest.raises(FileNotFound, match=r"none: .*No such file"):
        fetch(str(tmp_path / "none"), SETTINGS)
    with pytest.raises(Unreadable, match="no plain file"):
        fetch(str(tmp_path), SETTINGS)
    os.mkfifo(tmp_path / "pipe")
    for endless in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(Unreadable, match="no plain file"):
            fetch(endless, SETTINGS)
    with pytest.raises(FileNotFound):
        fetch(str(tmp_path / "none" / "below"), SETTINGS)
    with pytest.raises(Unreadable, match="too long"):
        fetch(str(tmp_path / ("x" * 300)), SETTINGS)
    with pytest.raises(BadRow, match="null"):
        fetch("a\0b", SETTINGS)


@pytest.mark.parametrize("uri", ["nonsense://a/b", "://", "s3://name:secret@bucket name/a"])
def test_what_is_no_address(uri):
    with pytest.raises(BadRow) as raised:
        fetch(uri, SETTINGS)
    assert "secret" not in str(raised.value)


def test_what_an_s3_service_has_not(s3):
    _, address = s3
    for path in ("clips/none.mp4", "nobucket/none.mp4"):
        with pytest.raises(FileNotFound, match=f"s3://{path}: ") as raised:
            fetch(address(path), SETTINGS)
        assert "secret" not in str(raised.value)


def test_an_s3_service_that_refuses_or_is_not_there(server):
    server.for_ever = True
    server.put("/clips/a.mp4", b"", status(403))
    host = server.base.partition("//")[2]
    with pytest.raises(Forbidden, match=r"s3://clips/a\.mp4: .*ACCESS_DENIED"):
        fetch(f"s3://name:secret@clips/a.mp4?scheme=http&endpoint_override={host}&region=us-east-1", SETTINGS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Network, match=r"s3://clips/a\.mp4: .*connect") as raised:
            fetch(f"s3://name:secret@clips/a.mp4?scheme=http&endpoint_override={host}&region=us-east-1", SETTINGS)
    assert "secret" not in str(raised.value)


def test_an_s3_service_that_stalls(server, monkeypatch):
    monkeypatch.setattr(stores, "SLOWEST", 1 << 30)
    server.put("/clips/a.mp4", bytes(1000), serve(), stall(100))  # a HEAD, a GET
    host = server.base.partition("//")[2]
    hasty = FetchConfig(timeout_s=0.3, tries=1, max_mib=1)
    with pytest.raises(Network, match=r"s3://clips/a\.mp4: TimeoutError: no answer within"):
        fetch(f"s3://name:secret@clips/a.mp4?scheme=http&endpoint_override={host}&region=us-east-1", hasty)
