"""Handling of an unreachable MLflow server: jobs check it at their start, and training continues without it."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.environment_variables import MLFLOW_TRACKING_PASSWORD as PASSWORD
from mlflow.environment_variables import MLFLOW_TRACKING_USERNAME as USER
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline import console
from pipeline.config import ConfigError
from pipeline.masking import is_masked, masked
from pipeline.sqlite import file_of


class OutageError(RuntimeError):
    """MLflow is unreachable for longer than its client waits; the message is one line for the user."""


class Refusal(str):
    """The reason of a server that answers, and refuses this user or this address; one line for the user."""


UNAUTHORIZED, FORBIDDEN = 401, 403
SQLITE = b"SQLite format 3\0"  # the first bytes of every database file
DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # default port of each
DATABASE_WAIT_S = 10
PAUSE_S = 2.0  # seconds between two questions whether MLflow is back
PATIENCE = {MLFLOW_HTTP_REQUEST_MAX_RETRIES.name: "1", MLFLOW_HTTP_REQUEST_TIMEOUT.name: "20"}


def impatient() -> None:
    """Let requests of this process fail within a minute, instead of MLflow's four minutes and more.

    This is for training workers, because all workers wait while one waits for MLflow. Values that the user has set are
    kept.
    """
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)


def check_reachable(uri: str) -> None:
    """Check that MLflow is reachable, before anything is computed.

    Raises:
        ConfigError: it is not, or the URI was stored without its password or cannot be used.
    """
    if is_masked(uri):
        raise ConfigError(f"tracking.uri: {uri} was stored without its password; give --tracking.uri again")
    check_usable(uri)
    reason = unreachable(uri)
    if isinstance(reason, Refusal):
        raise ConfigError(f"tracking.uri: {reason}")
    if reason:
        raise ConfigError(
            f"tracking.uri: no MLflow at {masked(uri)} ({reason}); start it, give another URI, or leave it empty for a "
            "file in STORAGE"
        )


def when_it_answers(uri: str, minutes: float) -> None:
    """Wait until MLflow is reachable.

    Args:
        uri: tracking URI.
        minutes: how long to wait, with a line every minute.

    Raises:
        ConfigError: it still is not after that time, or refuses this user.
    """
    begin, said = time.monotonic(), 0
    while reason := unreachable(uri):
        waited = (time.monotonic() - begin) / 60
        if isinstance(reason, Refusal) or waited >= minutes:
            check_reachable(uri)
        if waited >= said:
            said += 1
            so_far = f"{waited:.1f} of {minutes:g} minutes so far (resources.wait_minutes)"
            console.say(f"MLflow at {masked(uri)} does not answer ({reason}); waiting for it, {so_far}")
        time.sleep(PAUSE_S)


def check_usable(uri: str) -> None:
    """Check that an MLflow client can use an address.

    Raises:
        ConfigError: the address is of an unknown kind, its database driver is missing, or its file cannot be written.
    """
    scheme = _scheme(uri)
    if "://" not in uri or scheme in ("http", "https", "file", "databricks", "databricks-uc", "uc"):
        return
    if not is_database(uri):
        raise ConfigError(
            f"tracking.uri: MLflow knows no {scheme}:// ({masked(uri)}); give http(s)://, sqlite:///FILE, or one of "
            f"{', '.join(f'{name}://' for name in DATABASES)}"
        )
    if (file := file_of(uri)) is not None and (reason := _unwritable(Path(file))):
        raise ConfigError(f"tracking.uri: {masked(uri)}: {reason}; give a file that can be written")
    try:
        make_url(uri).get_dialect().import_dbapi()
    except (ImportError, ArgumentError) as error:  # includes NoSuchModuleError
        raise ConfigError(
            f"tracking.uri: {masked(uri)}: {_reason(error)}; install the driver of this database"
        ) from None


def is_database(uri: str) -> bool:
    """Return whether MLflow's client works on a database directly, without a server."""
    return _scheme(uri) in ("sqlite", *DATABASES)


def _scheme(uri: str) -> str:
    """Return the scheme of a URI without the driver: `postgresql` for `postgresql+psycopg2://`."""
    return uri.partition(":")[0].partition("+")[0]


def _unwritable(path: Path) -> str | None:
    """Return why a SQLite file cannot be used; None if it can be used or created."""
    if path.is_dir():
        return "a folder"
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        return f"{above} is no folder"
    try:  # permissions do not tell it for read-only disks, for /proc or for root
        with path.open("r+b") if path.exists() else tempfile.TemporaryFile(dir=above) as file:
            if path.exists() and file.read(16) not in (b"", SQLITE):
                return "the file is no SQLite database"
    except OSError as error:
        what = "the file" if path.exists() else f"the folder {above}"
        return f"{what} cannot be written ({error.strerror})"
    return None


def check_registry(uri: str) -> None:
    """Check that a registry exists before a model is looked up in it.

    No database is created, and an unreachable server is not waited for.

    Raises:
        ConfigError: there is no registry at the URI.
    """
    hint = "pass --tracking sqlite:////FOLDER/mlflow.db or http://HOST:PORT, or go where outputs/ is"
    if _scheme(uri) == "sqlite":
        file = Path(file_of(uri) or "")
        if not file.is_file():
            raise ConfigError(f"no MLflow database {file}; {hint}")
        with file.open("rb") as opened:
            if opened.read(16) != SQLITE:
                raise ConfigError(f"{file} is no MLflow database; {hint}")
        return
    impatient()
    try:
        MlflowClient(uri, uri).search_registered_models(max_results=1)
    except Exception as error:  # from MLflow, from the database driver, or because the driver is missing
        if refused := _refusal(uri, error):
            raise ConfigError(refused) from None
        raise ConfigError(f"no MLflow at {masked(uri)} ({_reason(error)}); {hint}") from None


def unreachable(uri: str) -> str | None:
    """Return why a server or database does not answer; None if it does, or if the URI is that of a file."""
    if _scheme(uri) in DATABASES:
        return _no_connection(uri)
    if not uri.startswith(("http:", "https:")):
        return None
    before = {name: os.environ.get(name) for name in PATIENCE}
    impatient()
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        return _refusal(uri, error) or _reason(error)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    return None


def _refusal(uri: str, error: Exception) -> Refusal | None:
    """Say that a server refuses a request, and what to do; None if the error means something else."""
    status = error.get_http_status_code() if isinstance(error, MlflowException) else None
    if status == UNAUTHORIZED:
        given = "this user and password" if USER.get() or "@" in uri else "a request without user and password"
        return Refusal(f"MLflow at {masked(uri)} refuses {given}; set {USER.name} and {PASSWORD.name}")
    if status == FORBIDDEN:
        return Refusal(f"MLflow at {masked(uri)} forbids it ({_reason(error)}); ask for access, or use its own address")
    return None


def _no_connection(uri: str) -> str | None:
    """Return why a database refuses a connection; None if it does not.

    The port is tried first, because each driver has a different name for its timeout.
    """
    address = make_url(uri)
    try:
        if address.host:
            port = address.port or DATABASES[address.get_backend_name()]
            socket.create_connection((address.host, port), timeout=DATABASE_WAIT_S).close()
        create_engine(address).connect().close()
    except SQLAlchemyError as error:
        return _reason(getattr(error, "orig", None) or error)
    except TimeoutError:
        return f"no answer in {DATABASE_WAIT_S} s"
    except OSError as error:
        return error.strerror or str(error)
    return None


@contextmanager
def tolerated(uri: str, aloud: bool = True) -> Iterator[None]:
    """Continue if MLflow fails in the block, and say so if `aloud`; callers send later what MLflow has missed."""
    try:
        yield
    except (MlflowException, OSError) as error:
        if aloud:
            console.say(f"MLflow at {masked(uri)} failed ({_reason(error)}); training goes on, its metrics follow")


def _reason(error: BaseException) -> str:
    """Return the last part of an error message, such as `Connection refused` for `NewConnectionError("...: ..."))`."""
    words = " ".join(str(error).split())
    last = words.rpartition(": ")[2]
    if last == words:
        return words or type(error).__name__
    last = last.rstrip(")>")
    for quote in "'\"":  # a closing quote whose opening quote was cut off
        last = last.rstrip(quote) if last.count(quote) % 2 else last
    return last or type(error).__name__
