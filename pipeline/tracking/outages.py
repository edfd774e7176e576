"""When the MLflow server is away: said before a job begins, borne while it trains, made good when it is back."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline import console
from pipeline.config import ConfigError
from pipeline.masking import is_masked, masked


class OutageError(RuntimeError):
    """MLflow is away for longer than its client waits; one line, for the user."""


SQLITE = b"SQLite format 3\0"  # how each database file begins
DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # and their ports
DATABASE_WAIT_S = 10
PATIENCE = {MLFLOW_HTTP_REQUEST_MAX_RETRIES.name: "1", MLFLOW_HTTP_REQUEST_TIMEOUT.name: "20"}


def impatient() -> None:
    """Let requests of this process fail within a minute, instead of MLflow's four minutes and more.

    For training workers: while one waits for MLflow all wait for it. What the user has set stays.
    """
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)


def check_reachable(uri: str) -> None:
    """Find a server that does not answer before anything is computed.

    Raises:
        ConfigError: in one line.
    """
    if is_masked(uri):
        raise ConfigError(f"tracking.uri: {uri} was stored without its password; give --tracking.uri again")
    check_usable(uri)
    if reason := unreachable(uri):
        raise ConfigError(
            f"tracking.uri: no MLflow at {masked(uri)} ({reason}); start it, give another URI, or leave it empty for a "
            "file in STORAGE"
        )


def check_usable(uri: str) -> None:
    """Find an address that no MLflow client can use: of an unknown kind, without its driver, a file not to be written.

    Raises:
        ConfigError: in one line.
    """
    scheme = _scheme(uri)
    if "://" not in uri or scheme in ("http", "https", "file", "databricks", "databricks-uc", "uc"):
        return
    if not is_database(uri):
        raise ConfigError(
            f"tracking.uri: MLflow knows no {scheme}:// ({masked(uri)}); give http(s)://, sqlite:///FILE, or one of "
            f"{', '.join(f'{name}://' for name in DATABASES)}"
        )
    if uri.startswith("sqlite:///") and (reason := _unwritable(Path(uri.removeprefix("sqlite:///")))):
        raise ConfigError(f"tracking.uri: {masked(uri)}: {reason}; give a file that can be written")
    try:
        make_url(uri).get_dialect().import_dbapi()
    except (ImportError, ArgumentError) as error:  # NoSuchModuleError is of these
        raise ConfigError(
            f"tracking.uri: {masked(uri)}: {_reason(error)}; install the driver of this database"
        ) from None


def is_database(uri: str) -> bool:
    """Whether MLflow's client works on a database itself, without a server."""
    return _scheme(uri) in ("sqlite", *DATABASES)


def _scheme(uri: str) -> str:
    """Such as `postgresql`, without the driver of `postgresql+psycopg2://`."""
    return uri.partition(":")[0].partition("+")[0]


def _unwritable(path: Path) -> str | None:
    """Why a SQLite file cannot be used; None where it can, or can be made."""
    if path.is_dir():
        return "a folder"
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        return f"{above} is no folder"
    try:  # permissions do not say it all: of a disk that is mounted for reading, of /proc, of root
        with path.open("r+b") if path.exists() else tempfile.TemporaryFile(dir=above) as file:
            if path.exists() and file.read(16) not in (b"", SQLITE):
                return "the file is no SQLite database"
    except OSError as error:
        what = "the file" if path.exists() else f"the folder {above}"
        return f"{what} cannot be written ({error.strerror})"
    return None


def check_registry(uri: str) -> None:
    """Find a registry that is not there before a model is looked for in it; none is made, and no server waited for.

    Raises:
        ConfigError: in one line.
    """
    hint = "pass --tracking sqlite:////FOLDER/mlflow.db or http://HOST:PORT, or go where outputs/ is"
    if uri.startswith("sqlite:"):
        file = Path(uri.removeprefix("sqlite:///"))
        if not file.is_file():
            raise ConfigError(f"no MLflow database {file}; {hint}")
        with file.open("rb") as opened:
            if opened.read(16) != SQLITE:
                raise ConfigError(f"{file} is no MLflow database; {hint}")
        return
    impatient()
    try:
        MlflowClient(uri, uri).search_registered_models(max_results=1)
    except Exception as error:  # of MLflow, of a database's driver, or that there is none
        raise ConfigError(f"no MLflow at {masked(uri)} ({_reason(error)}); {hint}") from None


def unreachable(uri: str) -> str | None:
    """Why a server or a database does not answer; None where it does, or where there is no server but a file."""
    if _scheme(uri) in DATABASES:
        return _no_connection(uri)
    if not uri.startswith(("http:", "https:")):
        return None
    before = {name: os.environ.get(name) for name in PATIENCE}
    impatient()
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        return _reason(error)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    return None


def _no_connection(uri: str) -> str | None:
    """Why a database does not let us in; each driver calls its timeout otherwise, so the port is tried first."""
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
    """Go on without MLflow, saying so unless it was said before; what it has missed is sent later."""
    try:
        yield
    except (MlflowException, OSError) as error:
        if aloud:
            console.say(f"MLflow at {masked(uri)} failed ({_reason(error)}); training goes on, its metrics follow")


def _reason(error: BaseException) -> str:
    """The innermost words: of `... Caused by NewConnectionError("...: [Errno 111] Connection refused"))` the last."""
    words = " ".join(str(error).split())
    last = words.rpartition(": ")[2]
    if last == words:
        return words or type(error).__name__
    last = last.rstrip(")>")
    for quote in "'\"":  # those that were opened further left
        last = last.rstrip(quote) if last.count(quote) % 2 else last
    return last or type(error).__name__
