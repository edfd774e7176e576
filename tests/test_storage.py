"""Files that appear whole or not at all."""

import json
import multiprocessing
import os
import signal

import pyarrow.fs as pafs
import pytest

from pipeline.storage import (
    exists,
    list_files,
    make_folder,
    open_store,
    read_json,
    remove,
    remove_unfinished,
    write_atomically,
    write_json,
)


class DiskFullError(Exception):
    pass


def fails_half_way(file):
    file.write(b"half of it")
    raise DiskFullError


def test_a_file_appears_with_what_was_written(tmp_path):
    write_atomically(f"{tmp_path}/a.bin", lambda file: file.write(b"content"))
    assert (tmp_path / "a.bin").read_bytes() == b"content"
    assert list_files(str(tmp_path)) == ["a.bin"]


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(DiskFullError):
        write_atomically(f"{tmp_path}/a.bin", fails_half_way)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_interrupted_leaves_nothing(tmp_path):
    def interrupted(file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(f"{tmp_path}/a.bin", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_leaves_is_removed_and_nothing_else(tmp_path):
    writer = multiprocessing.get_context("spawn").Process(target=killed, args=(f"{tmp_path}/a.json",))
    writer.start()
    writer.join()
    assert len(list(tmp_path.glob("_a.json.*.tmp"))) == 1
    kept = ["_b.json", "_b.tmp", "a.0123456789abcdef0123456789abcdef.tmp", "train-00000.parquet"]
    for name in kept:
        (tmp_path / name).touch()
    remove_unfinished(str(tmp_path))
    assert list_files(str(tmp_path)) == kept


def killed(uri):
    write_atomically(uri, lambda file: os.kill(os.getpid(), signal.SIGKILL))


def test_a_writer_that_fails_keeps_what_was_there(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(DiskFullError):
        write_atomically(f"{tmp_path}/a.bin", fails_half_way)
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert list_files(str(tmp_path)) == ["a.bin"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    seen = []

    def write(file):
        for part in (b"new ", b"content"):
            file.write(part)
            file.flush()
            seen.append(path.read_bytes())

    write_atomically(str(path), write)
    assert seen == [b"old", b"old"]
    assert path.read_bytes() == b"new content"


def test_a_reader_sees_no_file_until_it_is_complete(tmp_path):
    seen = []

    def write(file):
        file.write(b"x")
        file.flush()
        seen.append((exists(f"{tmp_path}/a.parquet"), [path.name for path in tmp_path.glob("[!_]*")]))

    write_atomically(f"{tmp_path}/a.parquet", write)
    assert seen == [(False, [])]  # what is there meanwhile begins with an underscore: readers of the folder skip it


def test_a_file_that_is_open_keeps_its_content_when_it_is_replaced(tmp_path):
    write_atomically(f"{tmp_path}/a.bin", lambda file: file.write(b"old"))
    with (tmp_path / "a.bin").open("rb") as reader:
        write_atomically(f"{tmp_path}/a.bin", lambda file: file.write(b"new and longer"))
        assert reader.read() == b"old"
    assert (tmp_path / "a.bin").read_bytes() == b"new and longer"


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(f"{tmp_path}/nowhere/a.bin", lambda file: file.write(b"x"))


def test_json_comes_back(tmp_path):
    value = {"labels": ["stirring", "pouring milk"], "counts": {"train": 3}, "digest": None, "name": "Ä"}
    write_json(f"{tmp_path}/a.json", value)
    assert read_json(f"{tmp_path}/a.json") == value
    assert json.loads((tmp_path / "a.json").read_text()) == value


def test_what_is_no_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(f"{tmp_path}/a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_paths_and_uris_name_the_same_file(tmp_path):
    write_json(f"file://{tmp_path}/a.json", [1])
    assert read_json(f"{tmp_path}/a.json") == read_json(f"file://{tmp_path}/a.json") == [1]
    assert exists(f"file://{tmp_path}/a.json")
    assert isinstance(open_store(f"{tmp_path}")[0], pafs.LocalFileSystem)


def test_files_are_listed_by_name_without_folders(tmp_path):
    make_folder(f"{tmp_path}/set/inner")
    for name in ("b", "a", "_c"):
        write_json(f"{tmp_path}/set/{name}", 1)
    write_json(f"{tmp_path}/set/inner/d", 1)
    assert list_files(f"{tmp_path}/set") == ["_c", "a", "b"]
    assert list_files(f"{tmp_path}/nowhere") == []


def test_folders_are_made_with_those_above_and_again(tmp_path):
    make_folder(f"{tmp_path}/a/b/c")
    make_folder(f"{tmp_path}/a/b/c")
    assert exists(f"{tmp_path}/a/b/c")


def test_files_and_folders_are_removed_and_nothing_is_no_error(tmp_path):
    make_folder(f"{tmp_path}/a/b")
    write_json(f"{tmp_path}/a/b/x", 1)
    write_json(f"{tmp_path}/y", 1)
    for name in ("a", "y", "nowhere"):
        remove(f"{tmp_path}/{name}")
    assert list(tmp_path.iterdir()) == []
