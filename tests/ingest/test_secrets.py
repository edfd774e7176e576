"""An ingest whose addresses hold secrets: it works with them, and no byte that it stores or prints has one."""

import threading

import pytest

from pipeline.command_line import override
from pipeline.config import Config
from pipeline.ingest.catalog import configured_catalog
from pipeline.ingest.run import ingest
from pipeline.ingest.summary import ingested
from pipeline.shards import read_clips
from pipeline.shards.manifest import MANIFEST
from pipeline.storage import remove
from tests.ingest.fetch.conftest import s3  # noqa: F401
from tests.ingest.fetch.server import FileServer
from tests.ingest.test_sources import FAST, archive

pytestmark = pytest.mark.ray
SECRETS = ("AKIAHUNTER", "hunter2", "hunter3", "hunter4")
CLIPS = {"good_in_s3_": "h265_10bit.mp4", "good_in_web": "cricket_rgb.gif", "broken_clip": "corrupted.mp4"}


@pytest.fixture(scope="module")
def secretive(cluster, clips_dir, s3, tmp_path_factory):  # noqa: F811
    """A config with a key of S3, a signed query and a proxy's password, and a server that knows the query."""
    folder = tmp_path_factory.mktemp("secretive")
    names = {youtube_id: f"{youtube_id}_000010_000020.mp4" for youtube_id in [*CLIPS, "nowhere____"]}
    lines = [f"class,{youtube_id},10,20,validate,0" for youtube_id in names]
    (folder / "val.csv").write_text("\n".join(["label,youtube_id,time_start,time_end,split,is_cc", *lines]))
    client, address = s3
    tars = folder / "tars"
    tars.mkdir()
    for name, members in {"a": ["good_in_s3_", "broken_clip"], "b": ["good_in_web"]}.items():
        archive(tars / f"{name}.tar.gz", {names[one]: (clips_dir / CLIPS[one]).read_bytes() for one in members})
    client.upload_file(str(tars / "a.tar.gz"), "clips", "secretive/a.tar.gz")
    with FileServer() as server:
        server.put("/b.tar.gz", (tars / "b.tar.gz").read_bytes())
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        values = {
            "storage": str(folder / "stored"),
            "catalog.annotations.val": str(folder / "val.csv"),
            "catalog.archives.val": address("clips/secretive").replace("name:secret@", "AKIAHUNTER:hunter2%2F@"),
            "catalog.archives.replacements": f"{server.base}/b.tar.gz?X-Amz-Signature=hunter3",
            "ingest.fetch.youtube_proxies": "me:hunter4@127.0.0.1:1",
            **FAST,
            "ingest.max_failed": "0.5",
        }
        yield folder / "stored", override(Config(), values).resolved(), server
        server.shutdown()


def test_no_stored_or_printed_byte_holds_a_secret(secretive):
    stored, config, server = secretive
    printed: list[str] = []
    manifest = ingest(config, configured_catalog(config), printed.append)
    printed.append(ingested(config.ingest.shards, manifest))
    assert manifest["splits"]["val"]["present"] == 2
    failed = read_clips(config.ingest.shards, status="failed").to_pylist()
    assert {row["error_class"] for row in failed} == {"DecodeError", "TarMemberMissing"}
    sources = {row["source"] for row in [*failed, *read_clips(config.ingest.shards).to_pylist()]}
    assert any(source.startswith("s3://***@clips/secretive/a.tar.gz?") for source in sources)
    assert any(source.startswith(f"{server.base}/b.tar.gz?X-Amz-Signature=***#") for source in sources)
    files = {file: file.read_bytes() for file in stored.rglob("*") if file.is_file()}
    assert len(files) >= 4
    files["screen"] = "\n".join(printed).encode()
    assert [(file, secret) for file, content in files.items() for secret in SECRETS if secret.encode() in content] == []


def test_another_secret_is_no_other_plan(secretive):
    _, config, _ = secretive
    ingest(config, configured_catalog(config), str)
    videos = config.catalog.archives["val"].replace("hunter2", "renewed")
    other = override(config, {"catalog.archives.val": videos, "ingest.fetch.youtube_proxies": "me:new@127.0.0.1:1"})
    remove(f"{config.ingest.shards}/{MANIFEST}")  # as if it had not ended
    assert ingest(other, configured_catalog(other), str)["splits"]["val"]["present"] == 2
