"""Detection and checks of jobs submitted to Ray, which run in a copy of the code and not in their user's folder."""

import os
from typing import Protocol, Self, TypeVar

from pipeline.command_line import fields
from pipeline.config import ConfigError


class Resolvable(Protocol):
    """The config of any job."""

    def resolved(self) -> Self:
        """Return the config with absolute paths."""


T = TypeVar("T", bound=Resolvable)
PATHS = (
    "storage", "ingest.shards", "catalog.videos", "catalog.annotations", "catalog.archives", "catalog.groups",
    "ingest.fetch.youtube_cookies", "model.weights",
)  # fmt: skip


def submitted() -> bool:
    """Return whether Ray's job submission has started this process."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def resolve(config: T) -> T:
    """Return the config with absolute paths.

    Raises:
        ConfigError: a submitted job was given a relative path. Such a job runs in Ray's copy of the user's working
            directory, where the path would point to another place that Ray deletes afterwards.
    """
    if submitted():
        for name, value, _ in fields(config):
            paths = value if isinstance(value, dict) else {"": value}
            for key, path in paths.items() if name.endswith(PATHS) else ():
                is_name = name.endswith("model.weights") and "/" not in path and "." not in path  # of a file or a run
                if path and "://" not in path and not path.startswith(("/", "~")) and not is_name:
                    raise ConfigError(
                        f"--{name}{key and '.' + key} {path}: a submitted job needs an absolute path or a URI"
                    )
    return config.resolved()
