"""Repair of an MLflow database that was moved or copied with its storage.

MLflow keeps absolute paths of artifacts. In a storage that was moved they lead nowhere, and in a copy they lead into
the original, to which a new run would then write. Here they are changed in the database to where the artifacts lie now:
beside the database, in the same storage.
"""

import sqlite3
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from pipeline import console
from pipeline.config import ConfigError
from pipeline.sqlite import file_of

ARTIFACTS = "mlartifacts"  # folder of the artifacts in a storage
PATHS = (  # table and column of every path of artifacts in MLflow's database
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def as_read(path: str) -> str:
    """Return a path or URI in the form that MLflow reads: it takes `%20`, `?` and `#` in a path for those of a URI."""
    return Path(path).as_uri() if "://" not in path and set(path) & set("%?#") else path


def local_path(address: str) -> Path | None:
    """Return the local path that MLflow keeps for a folder of artifacts; None if it is elsewhere."""
    if address.startswith("file:"):
        return Path(url2pathname(urlparse(address).path))
    return Path(address) if address.startswith("/") else None


def follow_storage(uri: str) -> None:
    """Let a database in a storage lead to the artifacts beside it, if it was moved or copied there with them.

    Args:
        uri: a tracking URI; only a SQLite file `STORAGE/mlflow.db` beside `STORAGE/mlartifacts` is changed.

    Raises:
        ConfigError: the database has to be changed and cannot be written.
    """
    file = Path(file_of(uri) or "")
    here = file.parent / ARTIFACTS
    if not file.is_file() or not here.is_dir():
        return
    connection, moved = sqlite3.connect(file, timeout=60), list[tuple[str, Path]]()
    try:
        moved = [(old, before) for old, before in _roots(connection) if _is_moved(connection, old, before, here)]
        with connection:
            for old, _ in moved:
                _lead(connection, old, as_read(str(here)))
    except sqlite3.DatabaseError as error:
        if not moved:  # MLflow says what is wrong with the file
            return
        raise ConfigError(
            f"{file}: the storage was moved from {moved[0][1].parent}; its MLflow database, which names that place, "
            f"cannot be changed ({error}); let it be written, or bring the storage back"
        ) from None
    finally:
        connection.close()
    for _, before in moved:
        console.say(f"the storage was moved from {before.parent}: MLflow's paths lead to {here} now")


def _roots(connection: sqlite3.Connection) -> list[tuple[str, Path]]:
    """Return the artifact folders that experiments name and that are named like that of a storage, with their paths."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
        return []
    found = connection.execute("SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location <> ''")
    return [(old, path) for (old,) in found if (path := local_path(old)) and path.name == ARTIFACTS]


def _is_moved(connection: sqlite3.Connection, old: str, before: Path, here: Path) -> bool:
    """Return whether the artifacts of a folder lie here: it is gone, or the folder of one of its runs is here too."""
    if before == here or (before.exists() and before.samefile(here)):
        return False
    if not before.parent.exists():
        return True
    runs = connection.execute("SELECT artifact_uri FROM runs WHERE substr(artifact_uri, 1, ?) = ?", _below(old))
    places = (uri[len(old) + 1 :].partition("/")[0] for (uri,) in runs)
    return any((here / place).is_dir() for place in places if place)


def _lead(connection: sqlite3.Connection, old: str, new: str) -> None:
    for table, column in PATHS:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (new, old))  # noqa: S608 - no input
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
            (new, len(old) + 1, *_below(old)),
        )


def _below(folder: str) -> tuple[int, str]:
    """Return the beginning of every path below a folder, after its length."""
    return len(folder) + 1, f"{folder}/"
