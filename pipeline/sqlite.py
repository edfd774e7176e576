"""Addresses of SQLite files, in which SQLAlchemy reads `%20` as a blank and `?` as the beginning of options.

address_of("/data/a?b/mlflow.db")  # sqlite:////data/a%3Fb/mlflow.db
"""

from urllib.parse import unquote

PREFIX = "sqlite:///"


def address_of(file: object) -> str:
    """Return the address of a SQLite file."""
    return PREFIX + str(file).replace("%", "%25").replace("?", "%3F")


def file_of(address: str) -> str | None:
    """Return the path of the file that an address names; None if it is not the address of a SQLite file."""
    if not address.startswith(PREFIX):
        return None
    return unquote(address.removeprefix(PREFIX).partition("?")[0])


def with_file(address: str, file: object) -> str:
    """Return the address of another file, with the options of the first address."""
    _, options, values = address.partition("?")
    return f"{address_of(file)}{options}{values}"
