"""What a job must know when Ray has started it: it runs in a copy of the code, not where its user is."""

import os
from typing import Protocol, Self, TypeVar

from pipeline.command_line import fields
from pipeline.config import ConfigError


class Resolvable(Protocol):
    """The config of any job."""

    def resolved(self) -> Self:
        """The same with absolute paths."""


T = TypeVar("T", bound=Resolvable)
PATHS = (
    "storage", "ingest.shards", "catalog.videos", "catalog.annotations", "catalog.archives", "catalog.groups",
    "model.weights",
)  # fmt: skip


def submitted() -> bool:
    """Whether this process is a job that Ray's job submission has started."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def resolve(config: T) -> T:
    """The config with absolute paths.

    Raises:
        ConfigError: a job that was submitted with a working directory runs in Ray's copy of it, which is not where the
            user's relative paths point, and is deleted afterwards.
    """
    if submitted():
        for name, value, _ in fields(config):
            paths = value if isinstance(value, dict) else {"": value}
            for key, path in paths.items() if name.endswith(PATHS) else ():
                is_name = name.endswith("model.weights") and "/" not in path and "." not in path  # of a file or run
                if path and "://" not in path and not path.startswith(("/", "~")) and not is_name:
                    raise ConfigError(
                        f"--{name}{key and '.' + key} {path}: a submitted job needs an absolute path or a URI"
                    )
    return config.resolved()
