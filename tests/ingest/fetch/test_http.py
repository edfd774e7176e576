"""Files from a web server that breaks, stalls, lies and changes its mind."""

import email.utils
import random
import socket
import time

import pytest

from pipeline.config import FetchConfig
from pipeline.ingest.clip_errors import (
    BadRow,
    FileNotFound,
    Forbidden,
    Network,
    RateLimited,
    ServerError,
    SourceChanged,
    Truncated,
)
from pipeline.ingest.fetch import http, request
from pipeline.ingest.fetch.http import open_http
from tests.ingest.fetch.server import certificate, chunked, cut, drip, redirect, stall, status

CONTENT = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(3_000_000)
SETTINGS = FetchConfig(timeout_s=20, tries=3)
HASTY = FetchConfig(timeout_s=0.3, tries=3)


def read(url: str, settings: FetchConfig = SETTINGS) -> bytes:
    with open_http(url, settings) as file:
        return file.read()


def ranges(server) -> list[tuple[str | None, str | None]]:
    return [(headers.get("Range"), headers.get("If-Range")) for _, headers in server.asked]


def test_a_file_comes_whole_over_one_connection(server, pauses):
    with open_http(server.put("/a", CONTENT), SETTINGS) as file:
        assert file.raw.size == len(CONTENT)
        assert file.read(7) == CONTENT[:7]
        assert file.tell() == 7
        assert file.read() == CONTENT[7:]
        assert file.read() == b""
    assert read(server.put("/empty", b"")) == b""
    assert ranges(server) == [(None, None)] * 2
    assert server.asked[0][1]["Accept-Encoding"] == "identity"
    assert pauses == []


def test_a_broken_transfer_goes_on_where_it_was(server, pauses):
    assert read(server.put("/a", CONTENT, cut(1_500_000), cut(100), etag='"v"')) == CONTENT
    assert ranges(server) == [(None, None), ("bytes=1500000-", '"v"'), ("bytes=1500100-", '"v"')]
    assert pauses == [1, 2]


def test_a_stalled_transfer_goes_on(server, pauses):
    assert read(server.put("/a", CONTENT, stall(2_500_000)), HASTY) == CONTENT
    assert ranges(server)[1] == ("bytes=2097152-", '"one"')  # whole blocks are kept
    assert pauses == [1]


def test_a_date_is_the_condition_where_the_tag_is_weak(server):
    date = "Mon, 01 Sep 2025 00:00:00 GMT"
    assert read(server.put("/a", CONTENT, cut(9), etag='W/"v"', modified=date)) == CONTENT
    assert ranges(server)[1] == ("bytes=9-", date)


def test_a_host_without_ranges_is_read_again_and_compared(server):
    url = server.put("/a", CONTENT, cut(1_500_000), cut(2_900_000), ranges=False)
    assert read(url) == CONTENT

    def exchange(server):
        server.files["/a"].content = OTHER

    for etag in (None, '"same"'):
        with pytest.raises(SourceChanged, match=r"/a: its first 1,500,000 bytes are others"):
            read(server.put("/a", CONTENT, cut(1_500_000, exchange), ranges=False, etag=etag))


def test_a_file_that_changes_part_way_is_not_glued_to_the_old_one(server):
    def exchange(content, etag):
        def then(server):
            server.files["/a"].content, server.files["/a"].etag = content, etag

        return then

    for content, etag in ((OTHER, '"two"'), (OTHER[:500], '"two"'), (OTHER[:500], None), (OTHER + b"x", None)):
        before = '"one"' if etag else None
        with pytest.raises(SourceChanged, match="/a: became another file after 600,000 bytes were read"):
            read(server.put("/a", CONTENT, cut(600_000, exchange(content, etag)), etag=before))
    assert read(server.put("/a", CONTENT, cut(0, exchange(OTHER, '"two"')))) == OTHER  # nothing was handed out


def test_less_than_was_promised_is_no_file(server, pauses):
    server.for_ever = True

    def shorter(handler, file):
        handler.reply(200, file.content, Content_Length="150")
        handler.close_connection = True

    with pytest.raises(Truncated, match=r"/a: .* after byte 100 of 150"):
        read(server.put("/a", b"x" * 100, shorter))
    with pytest.raises(Truncated, match=r"/b: .* after byte 1,000 of 3,000,000"):
        read(server.put("/b", CONTENT, cut(1000), cut(0)))
    assert pauses == [1, 2, 1, 2]


def test_more_than_was_promised_is_no_file(server):
    def longer(handler, file):
        code, body, headers = handler.part(file)
        handler.reply(code, body + b"more", **headers)

    with pytest.raises(ServerError, match="/a: the host sent 3,000,004 bytes and has promised 3,000,000"):
        read(server.put("/a", CONTENT, cut(600_000), longer, longer, longer))


@pytest.mark.parametrize("answer", ["bytes 5-9/3000000", "bytes */3000000", "pages 1-2/3", "", "bytes 600000-/"])
def test_a_part_that_was_not_asked_for_is_not_taken(server, answer):
    def wrong(handler, file):
        handler.reply(206, b"wrong", Content_Range=answer, ETag=file.etag)

    with pytest.raises(ServerError, match="asked for bytes from 600,000, the host answers 206"):
        read(server.put("/a", CONTENT, cut(600_000), wrong, wrong))
    assert read(server.put("/a", CONTENT, cut(600_000), wrong)) == CONTENT
    with pytest.raises(ServerError, match="asked for bytes from 0, the host answers 416"):
        read(server.put("/a", CONTENT, *3 * [status(416)]))


def test_chunks_have_no_length_and_an_end(server):
    assert read(server.put("/a", CONTENT, chunked())) == CONTENT
    assert read(server.put("/a", CONTENT, chunked(400_000))) == CONTENT
    server.for_ever = True
    with pytest.raises(Truncated, match="/a: the transfer broke after byte"):
        read(server.put("/a", CONTENT, chunked(400_000)))


@pytest.mark.parametrize(
    ("code", "error", "requests"),
    [
        (401, Forbidden, 1), (403, Forbidden, 1), (451, Forbidden, 1), (400, Forbidden, 1),
        (404, FileNotFound, 1), (410, FileNotFound, 1),
        (408, RateLimited, 3), (425, RateLimited, 3), (429, RateLimited, 3),
        (500, ServerError, 3), (503, ServerError, 3), (204, ServerError, 3),
    ],
)  # fmt: skip
def test_every_refusal_has_its_class_and_tries_again_only_where_that_may_help(server, code, error, requests):
    server.for_ever = True
    with pytest.raises(error, match=f"/a: the host answers {code}") as raised:
        read(server.put("/a", CONTENT, status(code)) + "?signature=secret")
    assert len(server.asked) == requests
    assert "secret" not in str(raised.value)


def test_a_host_that_recovers_is_read(server, pauses):
    date = email.utils.formatdate(time.time() + 3600, usegmt=True)
    later = [
        status(code, Retry_After=value) for code, value in ((429, "7"), (503, "soon"), (503, date), (500, "9" * 99))
    ]
    assert read(server.put("/a", CONTENT, *later), FetchConfig(tries=5)) == CONTENT
    assert pauses == [7, 2, 120, 120]


def test_redirects_are_followed_each_time_and_not_to_files(server):
    server.put("/b", CONTENT, cut(600_000))
    assert read(server.put("/a", b"", redirect("/b"), redirect(f"{server.base}/b"))) == CONTENT
    assert [path for path, _ in server.asked] == ["/a", "/b"] * 2
    for place in ("file:///etc/passwd", "ftp://host/a", "data:text/plain,a"):
        with pytest.raises(BadRow, match="which is no http or https address"):
            read(server.put("/a", b"", redirect(place)))
    server.for_ever = True
    with pytest.raises(Forbidden, match="more than 5 redirects"):
        read(server.put("/a", b"", redirect("/a")))


def test_no_redirect_leaves_an_encrypted_connection(server, monkeypatch, tmp_path):
    path, context = certificate(tmp_path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    plain, server.base = server.base, server.base.replace("http:", "https:")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    request._pools.cache_clear()
    try:
        with pytest.raises(Forbidden, match=rf"/a: leads from https to {plain}/b; give that address"):
            read(server.put("/a", b"", redirect(f"{plain}/b?token=secret")))
        assert read(server.put("/a", b"", redirect(server.put("/c", CONTENT)))) == CONTENT
    finally:
        request._pools.cache_clear()


def test_user_and_password_go_to_their_host_alone(server, monkeypatch):
    server.put("/b", CONTENT)
    elsewhere = server.base.replace("127.0.0.1", "localhost")
    address = server.put("/a", b"", redirect("/c")).replace("http://", "http://me:p%40ss@")
    server.put("/c", b"", redirect(f"{elsewhere}/b"))
    assert read(address) == CONTENT
    told = [(path, headers.get("Authorization") or headers.get("authorization")) for path, headers in server.asked]
    assert told == [("/a", "Basic bWU6cEBzcw=="), ("/c", "Basic bWU6cEBzcw=="), ("/b", None)]
    monkeypatch.setenv("http_proxy", server.base.replace("http://", "http://me:p%40ss@"))
    server.put("http://clips.example/a", CONTENT)
    assert read("http://clips.example/a") == CONTENT
    _, headers = server.asked[-1]
    assert {name.lower(): value for name, value in headers.items()}["proxy-authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize("head", [True, False])
def test_a_drip_is_no_progress(server, monkeypatch, head):
    monkeypatch.setattr(http, "SLOWEST", 10 * http.BLOCK)
    server.for_ever = True
    with pytest.raises(Network, match=r"(?s)/a: .*(took longer|timed out)"):
        read(server.put("/a", b"", drip(head)), FetchConfig(timeout_s=0.2, tries=2))
    assert len(server.asked) == 2


def test_an_encrypted_connection_is_as_patient_and_asks_who_is_there(server, monkeypatch, tmp_path):
    path, context = certificate(tmp_path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.base = server.base.replace("http:", "https:")
    with pytest.raises(Network, match="CERTIFICATE_VERIFY_FAILED"):
        read(server.put("/a", CONTENT))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    request._pools.cache_clear()
    assert read(server.put("/a", CONTENT, cut(1_500_000), stall(900_000)), HASTY) == CONTENT
    assert ranges(server)[1] == ("bytes=1500000-", '"one"')
    monkeypatch.setattr(http, "SLOWEST", 10 * http.BLOCK)
    for head in (True, False):
        with pytest.raises(Network, match=r"took longer|timed out"):
            read(server.put("/a", b"", drip(head), drip(head)), FetchConfig(timeout_s=0.3, tries=2))
    request._pools.cache_clear()


def test_a_large_file_may_break_more_often_than_a_small_one(server, monkeypatch):
    steps = 10 * [cut(250_000)]
    with pytest.raises(Truncated):
        read(server.put("/a", CONTENT, *steps), FetchConfig(tries=2))
    monkeypatch.setattr(http, "PROGRESS", 200_000)
    assert read(server.put("/a", CONTENT, *steps), FetchConfig(tries=2)) == CONTENT


def test_a_host_that_is_not_there(pauses):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(Network, match=r"127\.0\.0\.1:\d+/a: no answer: NewConnectionError.*refused"):
            read(f"http://127.0.0.1:{taken.getsockname()[1]}/a", SETTINGS)
    assert pauses == [1, 2]


@pytest.mark.parametrize("url", ["http://", "http:///a", "ftp://host/a", "http://[::1/a", f"http://{'a' * 300}/x"])
def test_what_is_no_address_is_said_at_once(url, pauses):
    with pytest.raises(BadRow, match="address"):
        read(url)
    assert pauses == []
