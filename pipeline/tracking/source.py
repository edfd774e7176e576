"""Tags that say who ran which command with which code, under the names that MLflow's pages show.

A job that Ray runs from a copy of the working directory finds no repository in it. Therefore `infra/local/submit.sh`
passes what is known at submission in `MLFLOW_RUN_CONTEXT`, MLflow's own variable for tags as JSON. An image has its
commit in the file `pipeline/commit.txt`. A digest of the code is always available.
"""

import functools
import getpass
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

CODE = Path(__file__).parents[1]
CODE_DIGEST, COMMAND, RAY_JOB = "code_digest", "command", "ray_job"
INHERITED = (MLFLOW_USER, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_GIT_COMMIT, CODE_DIGEST, COMMAND, RAY_JOB)


def source_tags(argv: Sequence[str] | None = None) -> dict[str, str]:
    """Return user, entry point, command, commit and code digest of this process; unknown values are left out."""
    words = command_words(sys.argv if argv is None else argv)
    job = _json_of("RAY_JOB_CONFIG_JSON_ENV_VAR")
    tags = {
        MLFLOW_USER: _user(),
        MLFLOW_SOURCE_NAME: next((word for word in words if word != "python"), ""),
        MLFLOW_SOURCE_TYPE: "JOB" if job else "LOCAL",
        MLFLOW_GIT_COMMIT: commit(),
        CODE_DIGEST: code_digest(),
        COMMAND: shlex.join(words),
        RAY_JOB: str((job.get("metadata") or {}).get("job_submission_id", "")),
    }
    given = {name: str(value) for name, value in _context().items()}
    return {name: value for name, value in (tags | given).items() if value}


def command_words(argv: Sequence[str]) -> list[str]:
    """Return a command line as it would be typed in the working directory."""
    program = Path(argv[0]) if argv and argv[0] else Path("python")
    if program.suffix != ".py":
        return [program.name, *argv[1:]]
    here = Path.cwd()
    return ["python", str(program.relative_to(here) if program.is_relative_to(here) else program), *argv[1:]]


def commit(file: Path = CODE / "__init__.py") -> str:
    """Return the commit of the code, with `-dirty` if tracked files differ from it; empty if it is not known.

    Args:
        file: a file of the code. A repository that contains but does not track this file, such as one around a virtual
            environment, is not that of the code.
    """
    git = ["git", "-C", str(file.parent)]
    try:
        for command in (
            [*git, "ls-files", "--error-unmatch", file.name],
            [*git, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - no input
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass
    if told := str(_context().get(MLFLOW_GIT_COMMIT, "")):
        return told
    baked = file.with_name("commit.txt")
    return baked.read_text().strip() if baked.is_file() else ""


@functools.cache
def code_digest(folder: Path = CODE) -> str:
    """Compute a digest of the relative paths and contents of all Python files of a folder, wherever the folder is."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _user() -> str:
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):  # in a container, the user id may have no name
        return str(os.getuid())


def _context() -> dict[str, Any]:
    return _json_of("MLFLOW_RUN_CONTEXT")


def _json_of(variable: str) -> dict[str, Any]:
    try:
        value = json.loads(os.environ.get(variable, "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
