"""An S3 service on this machine, behind a proxy that counts the requests, delays them, and fails as it is told to."""

import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "name", "aws_secret_access_key": "secret"}
BUCKET = "clips"
ASKED = 5  # times
AGAIN = 4  # requests of each kind


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Store"

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = f"{self.command} {_what(self.path)}".rstrip()
        self.server.asked.append((kind, unquote(self.path.partition("?")[0]).removeprefix(f"/{BUCKET}/")))
        time.sleep(self.server.delay_s)
        if self.server.silent.is_set():
            self.server.closing.wait()
            self.close_connection = True
            return
        if self.server.failures:
            self.answer(self.server.failures.pop(0), {}, b"")
            return
        self.answer(*self.behind(body))

    def behind(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer of the service, which is asked again if it has failed, so that every request counts once."""
        for attempt in range(ASKED):
            connection = http.client.HTTPConnection(*self.server.behind)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                reply = connection.getresponse()
                content = reply.read()
                if reply.status < 500 or attempt + 1 == ASKED:
                    return reply.status, dict(reply.getheaders()), content
            except (OSError, http.client.HTTPException):
                if attempt + 1 == ASKED:
                    raise
            finally:
                connection.close()
        raise AssertionError

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        length = {name.lower(): value for name, value in headers.items()}.get("content-length", str(len(body)))
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class Store(ThreadingHTTPServer):
    """The proxy.

    Attributes:
        asked: kind of request, such as GET, LIST or DELETE, and object, of every request so far.
        delay_s: seconds by which each request is delayed.
        failures: status codes with which the next requests fail.
        silent: if it is set, requests are not answered any more.
        client: a client of the service behind the proxy, whose requests do not count.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = (host, port)
        self.asked: list[tuple[str, str]] = []
        self.delay_s = 0.0
        self.failures: list[int] = []
        self.silent, self.closing = threading.Event(), threading.Event()
        self.client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **KEYS)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the other side has had enough."""

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def counts(self) -> dict[str, int]:
        """How many requests of each kind there were."""
        return dict(Counter(kind for kind, _ in self.asked))

    def took(self, **most: int) -> bool:
        """Whether there were as many requests of each kind, and no others; a few may have been sent again.

        obstore sends a request again if its connection broke, which happens on a machine that is busy.
        """
        counts, kinds = self.counts, {kind.replace("_", " "): number for kind, number in most.items()}
        return counts.keys() == kinds.keys() and all(
            number <= counts[kind] <= number + AGAIN for kind, number in kinds.items()
        )

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find the store."""
        names = {name.upper(): value for name, value in KEYS.items()}
        return {**names, "AWS_ENDPOINT_URL": f"http://{self.endpoint}", "AWS_REGION": "us-east-1"}

    def address(self, path: str) -> str:
        """The address of an object or folder, with all that a client must know."""
        return f"s3://name:secret@{BUCKET}/{path}?scheme=http&endpoint_override={self.endpoint}&region=us-east-1"

    def put(self, key: str, content: bytes) -> None:
        """Put an object into the service at once, without a request."""
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(BUCKET, key, content)

    def keys(self, prefix: str = "") -> list[str]:
        """The names of the objects that the service has."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]


def _what(path: str) -> str:
    query = path.partition("?")[2]
    if "list-type" in query:
        return "LIST"
    return next(
        (word for word in ("uploads", "partNumber", "uploadId", "delete") if re.search(rf"\b{word}\b", query)), ""
    )


@contextmanager
def object_store() -> Iterator[Store]:
    """A service with one empty bucket, and the proxy before it."""
    service = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    service.start()
    proxy = Store(*service.get_host_and_port())
    proxy.client.create_bucket(Bucket=BUCKET)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        service.stop()
