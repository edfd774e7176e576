"""Real servers on this machine: one for files, one that speaks S3."""

import threading
from collections.abc import Callable, Iterator

import pytest

from pipeline.ingest.fetch import http
from tests.ingest.fetch.server import FileServer


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """The pauses that would have been made."""
    made: list[float] = []
    monkeypatch.setattr(http, "pause", made.append)
    return made


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[object, Callable[[str], str]]]:
    """A client of an S3 service, and a function from "bucket/key" to an address for pyarrow."""
    import boto3
    from moto.server import ThreadedMotoServer

    service = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    service.start()
    host, port = service.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="name",
        aws_secret_access_key="secret",  # noqa: S106
    )
    client.create_bucket(Bucket="clips")
    yield client, lambda path: f"s3://name:secret@{path}?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
    service.stop()
