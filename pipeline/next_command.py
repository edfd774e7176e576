"""Command lines for users, which run as they are printed: named the way this program was started, quoted.

`video-actions` may have been started by its name or by a path, a job by an interpreter that is or is not the one on the
PATH, from any folder. A job that was submitted runs where its user is not: there the plain words are printed.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from pipeline.submission import submitted

PROGRAM = "video-actions"
JOBS = {
    "ingest": "ingest",
    "inspect": "inspect_shards",
    "pretrain": "pretrain_kinetics",
    "finetune": "finetune",
    "transfer": "transfer_youtube8m",
    "evaluate": "evaluate",
    "predict": "predict",
    "sweep": "sweep",
    "reproduce": "reproduce",
    "benchmark": "benchmark",
}
"""The script in `jobs/` of each command of `video-actions`."""


def command(verb: str, *arguments: object) -> str:
    """The line that starts a command.

    Args:
        verb: a verb of `video-actions`.
        arguments: its words, which are quoted where a shell needs it.
    """
    return shlex.join([*_started(verb), *map(str, arguments)])


def mlflow_ui(uri: str) -> str:
    """The line that shows the runs of a tracking store, or the address of the server that shows them."""
    if uri.startswith(("http://", "https://")):
        return uri
    program = "mlflow" if submitted() else _by_name_or_path("mlflow", Path(sys.executable).with_name("mlflow"))
    return shlex.join([program, "ui", "--backend-store-uri", uri])


def next_steps(*lines: str) -> str:
    """What a summary ends with."""
    return "\n".join(["", "next:", *(f"  {line}" for line in lines)])


def spoken(doc: str | None) -> str:
    """Documentation that says `video-actions VERB`, in the words by which this program was started."""
    at_the_beginning = re.compile(rf"^( *){PROGRAM} ([a-z]+)", re.MULTILINE)
    return at_the_beginning.sub(lambda found: found[1] + command(found[2]), doc or "")


def _started(verb: str) -> list[str]:
    if submitted() and verb in JOBS:
        return ["python", f"jobs/{JOBS[verb]}.py"]
    program = Path(sys.argv[0])
    scripts = program.parent if program.name in {f"{job}.py" for job in JOBS.values()} else _checkout() / "jobs"
    if program.name == PROGRAM or verb not in JOBS or not scripts.is_dir():
        path = program if program.name == PROGRAM else Path(sys.executable).with_name(PROGRAM)
        return [_by_name_or_path(PROGRAM, path), verb]
    return [_by_name_or_path("python", Path(sys.executable)), _shorter(scripts / f"{JOBS[verb]}.py")]


def _checkout() -> Path:
    return Path(__file__).parents[1]


def _by_name_or_path(name: str, path: Path) -> str:
    """The name of a program where the shell would find this one by it, else its path."""
    found = shutil.which(name)
    if found and Path(found).parent.resolve() == path.parent.resolve() and Path(found).samefile(path):
        return name
    shown = _shorter(path)
    return shown if os.sep in shown else os.path.join(os.curdir, shown)  # noqa: PTH118  a Path drops the dot


def _shorter(path: Path) -> str:
    """A path from the root or from the working directory."""
    absolute = os.path.abspath(path)  # noqa: PTH100  a virtual environment's python is a link
    return min(os.path.relpath(absolute), absolute, key=len)
