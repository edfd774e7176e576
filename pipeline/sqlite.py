"""Addresses of SQLite files, in which SQLAlchemy reads `%20` as a blank and `?` as the beginning of options.

    address_of("/data/mlflow.db")  # sqlite:////data/mlflow.db
    address_of("/data/a?b/mlflow.db")  # sqlite+pysqlite:////data/a%3Fb/mlflow.db

The second form names the driver, since MLflow makes a folder `a%3Fb` for an address in the first form.
"""

import re
from urllib.parse import unquote

_ADDRESS = re.compile(r"sqlite(?:\+pysqlite)?:///([^?]*)(.*)", re.DOTALL)


def address_of(file: object) -> str:
    """Return the address of a SQLite file."""
    quoted = str(file).replace("%", "%25").replace("?", "%3F")
    return f"sqlite{'+pysqlite' if quoted != str(file) else ''}:///{quoted}"


def file_of(address: str) -> str | None:
    """Return the path of the file that an address names; None if it is not the address of a SQLite file."""
    found = _ADDRESS.fullmatch(address)
    return unquote(found[1]) if found else None


def with_file(address: str, file: object) -> str:
    """Return the address of another file, with the options of the first address."""
    found = _ADDRESS.fullmatch(address)
    return address_of(file) + (found[2] if found else "")
