"""Command lines to print for users: quoted, and named the way this program was started, so that they run as printed.

A user may start `video-actions` by its name or by a path, and a job with the interpreter on the PATH or with another
one, from any folder. A submitted job runs on another machine than its user's, so there the plain names are printed,
unless `VIDEO_ACTIONS_BIN` names the folder of the programs.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from pipeline.masking import masked
from pipeline.submission import submitted

PROGRAM = "video-actions"
BIN = "VIDEO_ACTIONS_BIN"  # set by `infra/local/submit.sh`
JOBS = {
    "ingest": "ingest",
    "inspect": "inspect_shards",
    "pretrain": "pretrain_kinetics",
    "finetune": "finetune",
    "transfer": "transfer_youtube8m",
    "evaluate": "evaluate",
    "extract": "extract_features",
    "predict": "predict",
    "export": "export",
    "webdataset": "write_webdataset",
    "sweep": "sweep",
    "reproduce": "reproduce",
    "benchmark": "benchmark",
}
"""The script in `jobs/` of each command of `video-actions`."""


def command(verb: str, *arguments: object) -> str:
    """Return the command line that starts a subcommand.

    Args:
        verb: a subcommand of `video-actions`.
        arguments: its arguments, which are quoted if a shell needs it.
    """
    return shlex.join([*_started(verb), *map(str, arguments)])


def mlflow_ui(uri: str) -> str:
    """Return the command line that shows the runs of a tracking store, or the address of the server that does."""
    if uri.startswith(("http://", "https://")):
        return uri
    path = Path(sys.executable).with_name("mlflow")
    program = _where_submitted("mlflow") if submitted() else _by_name_or_path("mlflow", path)
    return shlex.join([program, "ui", "--backend-store-uri", uri])


def next_steps(*lines: str) -> str:
    """Return the last part of a summary: the commands that may come next, with the secrets in addresses masked."""
    return masked("\n".join(["", "next:", *(f"  {line}" for line in lines)]))


def spoken(doc: str | None) -> str:
    """Replace `video-actions VERB` in a docstring by the words with which this program was started."""
    at_the_beginning = re.compile(rf"^( *){PROGRAM} ([a-z]+)", re.MULTILINE)
    return at_the_beginning.sub(lambda found: found[1] + command(found[2]), doc or "")


def _started(verb: str) -> list[str]:
    if submitted() and verb in JOBS:
        return [_where_submitted("python"), f"jobs/{JOBS[verb]}.py"]
    program = Path(sys.argv[0])
    scripts = program.parent if program.name in {f"{job}.py" for job in JOBS.values()} else _checkout() / "jobs"
    if program.name == PROGRAM or verb not in JOBS or not scripts.is_dir():
        path = program if program.name == PROGRAM else Path(sys.executable).with_name(PROGRAM)
        return [_by_name_or_path(PROGRAM, path), verb]
    return [_by_name_or_path("python", Path(sys.executable)), _shorter(scripts / f"{JOBS[verb]}.py")]


def _where_submitted(name: str) -> str:
    """Return how a program is called where this job was submitted: by its plain name, unless its folder is known."""
    return str(Path(os.environ.get(BIN, ""), name))


def _checkout() -> Path:
    return Path(__file__).parents[1]


def _by_name_or_path(name: str, path: Path) -> str:
    """Return the name of a program if the shell would find it by that name, otherwise its path."""
    found = shutil.which(name)
    if found and Path(found).parent.resolve() == path.parent.resolve() and Path(found).samefile(path):
        return name
    shown = _shorter(path)
    return shown if os.sep in shown else os.path.join(os.curdir, shown)  # noqa: PTH118  a Path would drop the dot


def _shorter(path: Path) -> str:
    """Return the shorter form of a path: absolute, or relative to the working directory."""
    absolute = os.path.abspath(path)  # noqa: PTH100  python in a virtual environment is a link, which resolve() follows
    return min(os.path.relpath(absolute), absolute, key=len)
