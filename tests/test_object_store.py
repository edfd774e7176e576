"""Files in an object store: what is written comes back, with as few requests as can be, and nothing hangs."""

import os
import time

import pytest

from pipeline import object_store
from pipeline.object_store import PART
from pipeline.storage import (
    Entry,
    exists,
    list_below,
    list_entries,
    list_files,
    local_path,
    make_folder,
    modified_s,
    object_path,
    read_bytes,
    read_json,
    remove,
    remove_many,
    remove_unfinished,
    touch,
    write_atomically,
    write_bytes,
    write_json,
)
from tests.object_store import BUCKET, Store


@pytest.fixture
def folder(store, monkeypatch, tmp_path) -> str:
    """A folder of its own for each test, in a store that the environment names."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


def test_a_small_file_is_one_put_and_one_get(store, folder):
    write_bytes(f"{folder}/a", b"content")
    assert read_bytes(f"{folder}/a") == b"content"
    assert store.counts == {"PUT": 1, "GET": 1}


def test_a_part_of_a_file_is_one_get(store, folder):
    content = os.urandom(1000)
    write_bytes(f"{folder}/a", content)
    store.asked.clear()
    spans = [(0, 10), (990, 10), (500, None), (990, 100), (1000, 5), (2000, None), (3, 0)]
    found = [read_bytes(f"{folder}/a", *span) for span in spans]
    assert found == [content[start:][:length] for start, length in spans]
    assert store.counts == {"GET": 6}  # none for no bytes
    assert object_path(f"{folder}/a").read_end(10) == (content[-10:], 1000)
    assert object_path(f"{folder}/a").read_end(5000) == (content, 1000)
    assert store.counts == {"GET": 8}


def test_a_local_file_is_read_in_the_same_way(tmp_path):
    content = os.urandom(1000)
    write_bytes(f"{tmp_path}/a", content)
    for start, length in [(0, 10), (990, 10), (500, None), (990, 100), (1000, 5), (2000, None), (3, 0)]:
        assert read_bytes(f"{tmp_path}/a", start, length) == content[start:][:length]


def test_an_empty_file_comes_back(store, folder):
    touch(f"{folder}/a")
    assert read_bytes(f"{folder}/a") == b""
    assert object_path(f"{folder}/a").read_end(100) == (b"", 0)
    assert exists(f"{folder}/a")


def test_a_large_file_is_sent_in_parts_and_is_whole(store, folder):
    content = os.urandom(2 * PART + 5)
    write_bytes(f"{folder}/a", content)
    assert store.counts == {"POST uploads": 1, "PUT partNumber": 3, "POST uploadId": 1}
    assert read_bytes(f"{folder}/a") == content
    store.asked.clear()
    write_atomically(
        f"{folder}/b", lambda file: [file.write(content[i : i + 1000]) for i in range(0, len(content), 1000)]
    )
    assert store.counts == {"POST uploads": 1, "PUT partNumber": 3, "POST uploadId": 1}
    assert read_bytes(f"{folder}/b") == content


def test_a_small_file_that_is_written_bit_by_bit_is_one_put(store, folder):
    write_atomically(f"{folder}/a", lambda file: [file.write(b"x") for _ in range(1000)])
    assert store.counts == {"PUT": 1}
    assert read_bytes(f"{folder}/a") == b"x" * 1000


@pytest.mark.parametrize("size", [10, 2 * PART])
def test_a_writer_that_fails_leaves_nothing(store, folder, size):
    def fails(file):
        file.write(b"x" * size)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(f"{folder}/a", fails)
    assert not store.keys(folder.rpartition("/")[2])
    assert "Uploads" not in store.client.list_multipart_uploads(Bucket=BUCKET)


def test_all_below_is_listed_with_sizes_a_thousand_at_a_time(store, folder):
    names = sorted([f"_staging/{number:04d}.parquet" for number in range(1001)] + ["a.parquet", "b/c/d"])
    prefix = folder.rpartition("/")[2]
    for name in names:
        store.put(f"{prefix}/{name}", b"x" * len(name))
    store.put(f"{prefix}/", b"")  # as other tools mark folders
    store.put(f"{prefix}more/a", b"")
    assert list_below(folder) == [Entry(name, len(name)) for name in names]
    assert store.counts == {"GET LIST": 2}
    assert list_files(folder) == ["a.parquet"]
    assert list_entries(folder) == ["_staging", "a.parquet", "b"]
    assert store.counts == {"GET LIST": 4}
    store.asked.clear()
    remove_many([f"{folder}/{name}" for name in [*names, "nowhere"]])
    assert store.counts == {"POST delete": 2}
    assert list_below(folder) == []
    assert list_files(folder) == []
    with pytest.raises(FileNotFoundError):
        list_entries(folder)


def test_a_local_folder_is_listed_and_cleared_in_the_same_way(tmp_path):
    names = ["_staging/a", "b", "c/d/e"]
    for name in names:
        make_folder(f"{tmp_path}/{name.rpartition('/')[0]}")
        write_bytes(f"{tmp_path}/{name}", name.encode())
    expected = [Entry(name, len(name)) for name in names]
    assert list_below(str(tmp_path)) == list_below(f"{tmp_path}/") == list_below(f"file://{tmp_path}") == expected
    assert list_below(f"{tmp_path}/nowhere") == []
    remove_many([f"{tmp_path}/{name}" for name in [*names, "nowhere", "no/where"]])
    assert list_below(str(tmp_path)) == []


def test_folders_need_no_requests_and_are_there_if_something_is_in_them(store, folder):
    make_folder(f"{folder}/b")
    assert not store.asked
    assert not exists(f"{folder}/b")
    write_json(f"{folder}/b/c.json", {"a": 1})
    assert exists(f"{folder}/b")
    assert exists(f"{folder}/b/c.json")
    assert not exists(f"{folder}/b/c")
    assert read_json(f"{folder}/b/c.json") == {"a": 1}
    assert abs(modified_s(f"{folder}/b/c.json") - time.time()) < 60
    write_json(f"{folder}/bc", 1)
    remove(f"{folder}/b")
    assert list_below(folder) == [Entry("bc", 1)]
    remove(f"{folder}/bc")
    remove(f"{folder}/bc")
    assert list_below(folder) == []
    remove_unfinished(folder)


def test_what_is_not_there_is_an_error_in_one_line(store, folder):
    for uri in (f"{folder}/a", "s3://nowhere/a"):
        for ask in (read_bytes, read_json, modified_s):
            with pytest.raises(FileNotFoundError) as raised:
                ask(uri)
            assert str(raised.value).startswith(f"{uri}: ")
            assert "\n" not in str(raised.value)
    with pytest.raises(OSError, match="s3://nowhere/a: NoSuchBucket"):
        write_bytes("s3://nowhere/a", b"x")


def test_an_address_may_hold_all_that_a_client_must_know(store, tmp_path):
    address = store.address(f"{tmp_path.name}/ä b")
    write_bytes(address.replace("ä b", "%C3%A4%20b"), b"1")
    write_bytes(f"{store.address(tmp_path.name)}/c/d", b"2")  # names are appended to the address of a set
    assert store.keys(tmp_path.name) == [f"{tmp_path.name}/c/d", f"{tmp_path.name}/ä b"]
    assert list_below(store.address(tmp_path.name)) == [Entry("c/d", 1), Entry("ä b", 1)]
    with pytest.raises(FileNotFoundError) as raised:
        read_bytes(f"{store.address('nowhere')}/x")
    assert "secret" not in str(raised.value)
    assert str(raised.value).startswith(f"s3://{BUCKET}/nowhere/x: ")


@pytest.mark.parametrize("uri", ["s3://", "s3:///a", "s3://name:secret@/a", "s3://clips/a?what=1"])
def test_an_address_that_makes_no_sense_is_an_error_without_secrets(uri):
    with pytest.raises(ValueError, match="an address of a store needs a bucket") as raised:
        read_bytes(uri)
    assert "secret" not in str(raised.value)


def test_keys_come_from_the_profile_too(store, folder, monkeypatch, tmp_path):
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = x\n[mine]\naws_access_key_id = name\naws_secret_access_key = secret\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    write_bytes(f"{folder}/a", b"1")
    assert read_bytes(f"{folder}/a") == b"1"
    file.write_text("nonsense")
    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(ValueError, match=r"credentials: does not read; correct it, or set AWS_ACCESS_KEY_ID"):
        read_bytes(f"{folder}/a")


def test_without_keys_the_error_says_so(store, folder, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(object_store, "RETRIES", 0)
    with pytest.raises(OSError, match=f"s3://{BUCKET}/.*/a: no credentials, neither given nor of this machine"):
        read_bytes(f"{folder}/a")


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_is_busy_for_a_moment_is_asked_again(store, folder, status):
    store.failures[:] = [status, status]
    write_bytes(f"{folder}/a", b"1")
    store.failures[:] = [status]
    assert read_bytes(f"{folder}/a") == b"1"
    assert store.counts == {"PUT": 3, "GET": 2}


def test_a_store_that_refuses_is_not_asked_again(store, folder):
    store.failures[:] = [403]
    with pytest.raises(PermissionError, match=f"s3://{BUCKET}/.*: .*403"):
        read_bytes(f"{folder}/a")
    assert store.counts == {"GET": 1}


def test_a_store_that_is_silent_is_an_error_after_the_limit(store, folder, monkeypatch):
    monkeypatch.setattr(object_store, "SILENCE_S", 0.3)
    monkeypatch.setattr(object_store, "RETRIES", 1)
    object_store._client.cache_clear()
    store.silent.set()
    for ask in (
        lambda: read_bytes(f"{folder}/a"),
        lambda: write_bytes(f"{folder}/a", b"x"),
        lambda: list_below(folder),
    ):
        with pytest.raises(OSError, match=r"s3://clips/.*\(Timeout\)"):
            ask()


def test_a_store_that_is_away_is_an_error(monkeypatch, folder):
    monkeypatch.setattr(object_store, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=r"s3://clips/.*\(Connect\)"):
        read_bytes(f"{folder}/a")


def test_stores_of_google_and_azure_are_known_and_others_are_left_to_arrow(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    found = {uri: object_path(uri) for uri in ("gs://anonymous@b/c/d", "gcs://b/c/d", "az://b/c/d")}
    assert {uri: (one.key, one.place) for uri, one in found.items()} == {
        "gs://anonymous@b/c/d": ("c/d", "gs://b"), "gcs://b/c/d": ("c/d", "gcs://b"), "az://b/c/d": ("c/d", "az://b"),
    }  # fmt: skip
    assert object_path("/a/b") is object_path("a") is object_path("file:///a") is object_path("hdfs://a/b") is None
    assert local_path("s3://b/c") is local_path("hdfs://a/b") is None
    assert str(local_path("file:///a/b")) == str(local_path("/a/b")) == "/a/b"


def test_the_client_of_a_forked_process_is_its_own(store: Store, folder):
    write_bytes(f"{folder}/a", b"1")
    first = object_path(f"{folder}/a").store
    assert object_path(f"{folder}/b").store is first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        assert object_path(f"{folder}/a").store is not first
