"""The scripts that save and restore MLflow, on a real PostgreSQL and a bucket: what they do and what they refuse."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.object_store import KEYS, Store

from .manifests import INFRA
from .mlflow_stack import Postgres, postgres_programs

DATABASE, OBJECTS = INFRA / "mlflow" / "database.sh", INFRA / "mlflow" / "objects.py"
SCRIPT = runpy.run_path(str(OBJECTS))
BUCKET = SCRIPT["BUCKET"]
TABLES = """
CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('v1');
CREATE TABLE runs (name text); CREATE TABLE metrics (value float); CREATE TABLE registered_models (name text);
CREATE TABLE users (name text); INSERT INTO users VALUES ('jobs');
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    postgres_programs()  # skips where there are none
    # Not a folder of pytest's: PostgreSQL's own user must reach it, and each pytest that starts closes those to others.
    with tempfile.TemporaryDirectory(prefix="mlflow-backup-") as folder:
        Path(folder).chmod(0o711)
        made = Postgres(Path(folder) / "postgres")
        yield made
        made.control("-m", "immediate", "stop")


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Postgres]:
    """A server with MLflow's tables, as far as the script looks at them, and no other database of ours."""
    sql(postgres, "postgres", "CREATE DATABASE mlflow")
    sql(postgres, "mlflow", TABLES)
    yield postgres
    for name in databases(postgres):
        sql(postgres, "postgres", f'DROP DATABASE "{name}" WITH (FORCE)')


def environment(postgres: Postgres) -> dict[str, str]:
    return {**os.environ, **postgres.environment, "PATH": f"{postgres.programs}:{os.environ['PATH']}"}


def sql(postgres: Postgres, name: str, *statements: str) -> list[str]:
    """The lines that psql answers to statements."""
    words = ["psql", "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-d", name]
    commands = [word for statement in statements for word in ("-c", statement)]
    done = subprocess.run([*words, *commands], env=environment(postgres), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def databases(postgres: Postgres) -> list[str]:
    return sql(postgres, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'mlflow%' ORDER BY 1")


def runs(postgres: Postgres, name: str = "mlflow") -> list[str]:
    return sql(postgres, name, "SELECT name FROM runs ORDER BY 1")


def script(postgres: Postgres, *words: str | Path) -> str:
    """What database.sh says if it succeeds."""
    done = attempt(postgres, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def attempt(postgres: Postgres, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", DATABASE, *words], env=environment(postgres), capture_output=True, text=True, check=False, timeout=60
    )


def saved(postgres: Postgres, folder: Path, time: str, run: str) -> Path:
    """A dump of the database with one more run, under the name of a time."""
    sql(postgres, "mlflow", f"INSERT INTO runs VALUES ('{run}')")  # noqa: S608
    script(postgres, "save", folder)
    (new,) = [path for path in folder.glob("*.dump") if "2001" not in path.name]
    assert new.stat().st_mode & 0o077 == 0
    return new.rename(folder / f"mlflow-{time}.dump")


def test_a_saved_database_takes_the_place_of_the_present_one_which_is_kept(database, tmp_path):
    saved(database, tmp_path, "2001-01-01T021500Z", "old")
    sql(database, "mlflow", "INSERT INTO runs VALUES ('new')")
    said = script(database, "load", tmp_path)
    assert "it holds 1 runs, 0 metrics, 0 registered models, 1 users; tables of version v1" in said
    assert runs(database) == ["new", "old"]  # until it is switched
    assert "is mlflow now" in script(database, "switch")
    assert runs(database) == ["old"]
    (kept,) = [name for name in databases(database) if name != "mlflow"]
    assert runs(database, kept) == ["new", "old"]


def test_the_backup_is_chosen_by_the_beginning_of_its_time(database, tmp_path):
    for time, run in (("2001-01-01T021500Z", "a"), ("2001-01-01T140000Z", "b"), ("2001-01-02T021500Z", "c")):
        saved(database, tmp_path, time, run)
    assert script(database, "list", tmp_path).splitlines()[-1].endswith("mlflow-2001-01-02T021500Z.dump")
    for which, expected in (("2001-01-01", "2 runs"), ("2001-01-01T02", "1 runs"), ("newest", "3 runs")):
        assert f"it holds {expected}" in script(database, "check", tmp_path, which)
    for which in ("none", "2001-02", "../2001", "*", "$(touch here)"):
        done = attempt(database, "load", tmp_path, which)
        assert done.returncode == 1
        assert which in done.stderr or "no backup is chosen" in done.stderr
    assert databases(database) == ["mlflow"]


def test_a_check_needs_no_stop_and_leaves_nothing(database, tmp_path):
    saved(database, tmp_path, "2001-01-01T021500Z", "a")
    with session(database):
        assert "it holds 1 runs" in script(database, "check", tmp_path)
    assert databases(database) == ["mlflow"]


def session(postgres: Postgres) -> subprocess.Popen[bytes]:
    """A server that is connected to the database, until it is closed."""
    client = subprocess.Popen(
        ["psql", "-X", "-q", "-d", "mlflow"], env=environment(postgres), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    client.stdin.write(b"\\echo connected\n")
    client.stdin.flush()
    assert client.stdout.readline() == b"connected\n"
    return client


def test_nothing_is_restored_under_a_server_that_runs(database, tmp_path):
    saved(database, tmp_path, "2001-01-01T021500Z", "a")
    with session(database):
        done = attempt(database, "load", tmp_path)
        assert (done.returncode, databases(database)) == (1, ["mlflow"])
        assert "the database mlflow is in use from 127.0.0.1: stop the MLflow server" in done.stderr
    script(database, "load", tmp_path)
    with session(database):
        done = attempt(database, "switch")
        assert (done.returncode, databases(database)) == (1, ["mlflow", "mlflow_loaded"])
        assert "stop the MLflow server" in done.stderr
    script(database, "switch")


@pytest.mark.parametrize("damage", ["half", "changed", "empty", "another"])
def test_a_damaged_backup_is_refused_and_the_database_is_as_it_was(damage, database, tmp_path):
    sql(database, "mlflow", "INSERT INTO metrics SELECT random() FROM generate_series(1, 5000)")
    if damage == "another":
        sql(database, "mlflow", "DROP TABLE runs; CREATE TABLE runs ()", "INSERT INTO runs DEFAULT VALUES")
        sql(database, "mlflow", "DROP TABLE registered_models")
        script(database, "save", tmp_path)
    else:
        dump = saved(database, tmp_path, "2001-01-01T021500Z", "a")
        whole = dump.read_bytes()
        middle = len(whole) // 2
        changed = whole[:middle] + bytes(256 - byte if byte else 1 for byte in whole[middle : middle + 64])
        dump.write_bytes({"half": whole[:middle], "changed": changed + whole[middle + 64 :], "empty": b""}[damage])
    before = sql(database, "mlflow", "SELECT sum(value) FROM metrics")
    done = attempt(database, "load", tmp_path)
    assert done.returncode == 1
    assert "the database mlflow is as it was" in done.stderr
    assert sql(database, "mlflow", "SELECT sum(value) FROM metrics") == before
    assert databases(database) == ["mlflow"]
    assert attempt(database, "switch").returncode == 1


def test_a_server_that_lost_its_database_gets_it_back(database, tmp_path):
    saved(database, tmp_path, "2001-01-01T021500Z", "a")
    sql(database, "postgres", "DROP DATABASE mlflow")
    assert attempt(database, "switch").stderr.startswith("error: no database is loaded")
    script(database, "load", tmp_path)
    script(database, "switch")
    assert (databases(database), runs(database)) == (["mlflow"], ["a"])


def test_a_load_that_was_cut_short_is_begun_anew(database, tmp_path):
    saved(database, tmp_path, "2001-01-01T021500Z", "a")
    sql(database, "postgres", "CREATE DATABASE mlflow_part")
    assert attempt(database, "switch").returncode == 1  # there is no whole one
    script(database, "load", tmp_path)
    script(database, "load", tmp_path)
    assert runs(database, "mlflow_loaded") == ["a"]
    assert databases(database) == ["mlflow", "mlflow_loaded"]


def test_old_backups_go_when_a_new_one_is_whole(database, tmp_path):
    old, part, other = (tmp_path / name for name in ("mlflow-2001.dump", "mlflow-2001.dump.part", "notes"))
    for path in (old, part, other):
        path.touch()
        os.utime(path, (0, 0))
    failed = subprocess.run(
        ["sh", DATABASE, "save", tmp_path],
        env={**environment(database), "PGDATABASE": "absent"}, capture_output=True, check=False,
    )  # fmt: skip
    assert failed.returncode != 0
    assert old.exists()
    script(database, "save", tmp_path)
    assert not old.exists()
    assert not part.exists()
    assert other.exists()


@pytest.mark.parametrize("words", [[], ["restore"], ["save"], ["load", "/nowhere"]])
def test_wrong_words_are_said_so(words):
    done = subprocess.run(
        ["sh", DATABASE, *words],
        env={**os.environ, "PGDATABASE": "mlflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "no such folder" in done.stderr or "database.sh save FOLDER" in done.stderr


@pytest.fixture
def bucket(store: Store) -> Iterator[Store]:
    """An empty bucket of MLflow."""
    store.client.create_bucket(Bucket=BUCKET)
    yield store
    empty(store)
    store.client.delete_bucket(Bucket=BUCKET)


def empty(store: Store) -> None:
    for key in contents(store):
        store.client.delete_object(Bucket=BUCKET, Key=key)


def contents(store: Store) -> dict[str, bytes]:
    listed = store.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {one["Key"]: store.client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed}


def put(store: Store, **objects: bytes) -> None:
    for key, content in objects.items():
        store.client.put_object(Bucket=BUCKET, Key=key, Body=content)


def objects_py(store: Store, *words: str | Path) -> tuple[int, str]:
    """Status and words of objects.py, in this process: boto3 takes half a second to import."""
    told = {name.upper(): value for name, value in KEYS.items()} | {
        "MLFLOW_S3_ENDPOINT_URL": f"http://{store.endpoint}"
    }
    said, wrong = io.StringIO(), ""
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(said):
        for name, value in told.items():
            patched.setenv(name, value)
        before = os.umask(0)
        try:
            SCRIPT["main"]([str(word) for word in words])
        except SystemExit as end:  # with the text that Python writes to the standard error, and status 1
            wrong = str(end)
        finally:
            os.umask(before)
    return int(bool(wrong)), said.getvalue() + wrong


def test_objects_come_back_and_what_is_only_in_the_bucket_stays(bucket, tmp_path):
    folder = tmp_path / "artifacts"
    kept = {"a/one.part": b"1", "a/.two": b"2", "b c/ü%": b"3"}
    put(bucket, **kept)
    assert "3 objects copied to" in objects_py(bucket, "save", folder)[1]
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*"))} == {0}
    assert "0 objects copied to" in objects_py(bucket, "save", folder)[1]  # what is there is not read again
    put(bucket, **{"a/.two": b"two", "later": b"4"})
    status, said = objects_py(bucket, "load", folder)
    assert (status, "1 objects copied from" in said) == (0, True), said
    assert contents(bucket) == kept | {"later": b"4"}
    empty(bucket)
    assert "3 objects copied from" in objects_py(bucket, "load", folder)[1]
    assert contents(bucket) == kept


def test_a_changed_object_is_saved_again_and_is_what_comes_back(bucket, tmp_path):
    put(bucket, a=b"old")
    objects_py(bucket, "save", tmp_path / "artifacts")
    put(bucket, a=b"newer")
    assert "1 objects copied" in objects_py(bucket, "save", tmp_path / "artifacts")[1]
    empty(bucket)
    objects_py(bucket, "load", tmp_path / "artifacts")
    assert contents(bucket) == {"a": b"newer"}


def test_damaged_or_missing_files_are_found_before_anything_is_copied(bucket, tmp_path):
    folder = tmp_path / "artifacts"
    put(bucket, a=b"a", b=b"b", c=b"c")
    objects_py(bucket, "save", folder)
    (folder / "a").write_bytes(b"x")
    (folder / "b").unlink()
    empty(bucket)
    for verb in ("check", "load"):
        status, said = objects_py(bucket, verb, folder)
        assert status == 1
        assert f"{folder}/a: is not what was saved" in said
        assert f"{folder}/b: is not there" in said
        assert "nothing was copied" in said
    assert contents(bucket) == {}
    status, said = objects_py(bucket, "load", tmp_path / "nowhere")
    assert (status, "no such folder" in said) == (1, True)


def test_objects_that_no_file_can_be_are_named_and_the_others_saved(bucket, tmp_path):
    put(bucket, **{"../outside": b"x", "a": b"1", "a/b": b"2", "x" * 300: b"3", "z": b"4", "d//e": b"5"})
    status, said = objects_py(bucket, "save", tmp_path / "artifacts")
    assert status == 1
    assert "2 objects copied" in said
    assert {line.split(": ")[1] for line in said.splitlines() if line.startswith("error")} == {
        f"s3://{BUCKET}/{key}" for key in ("../outside", "a/b", "x" * 300, "d//e")
    }
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "artifacts", "artifacts.jsonl", "z"]


def test_a_save_that_was_killed_is_made_whole_by_the_next(bucket, tmp_path):
    folder, lines = tmp_path / "artifacts", tmp_path / "artifacts.jsonl"
    put(bucket, a=b"a", b=b"b")
    objects_py(bucket, "save", folder)
    text = lines.read_text()
    lines.write_text(text[: len(text) // 2 + 30])  # the second line was not written to its end
    said = objects_py(bucket, "check", folder)[1]
    assert "1 objects" in said
    assert "does not name 1 files" in said
    assert "1 objects copied" in objects_py(bucket, "save", folder)[1]
    assert "2 objects" in objects_py(bucket, "check", folder)[1]
    told = [json.loads(line) for line in lines.read_text().splitlines()[-1:]]
    assert set(told[0]) == {"key", "size", "changed", "sha256"}
