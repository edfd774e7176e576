"""The steps of a Dockerfile, run in chroots: FROM, ARG, ENV, WORKDIR, COPY, RUN and USER; see build_proof.sh.

Any instruction or option that it does not know ends it, so that no step is passed over in silence.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

OF_THE_KERNEL = ("dev", "proc", "sys")  # seen by every stage as they are here
HARMLESS = ("CMD", "EXPOSE", "LABEL", "ENTRYPOINT")
"""Instructions that only say how a container is started."""
BASE = re.compile(r"python:(?P<version>3\.\d+)-slim-(?P<release>\w+)@sha256:[0-9a-f]{64}")
PREDEFINED = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
"""Variables that Docker hands on to every step without being told."""
OF_THIS_MACHINE = ("/etc/resolv.conf", "/etc/pip.conf", "/usr/local/share/ca-certificates")
"""How this machine reaches names and packages: a step must reach them too."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Stage:
    """A stage of the build: its root on this machine, and what the next step finds."""

    root: Path
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction and the rest of its line, without comments, as Docker joins lines."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def put_in(text: str, variables: dict[str, str]) -> str:
    """Replace `$NAME` and `${NAME}` as Docker does outside of RUN."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], ""), text)


def build(root: Path, dockerfile: Path, given: dict[str, str]) -> None:
    """Run all steps; the last stage becomes `root`, and the others are removed at the end."""
    stages: dict[str, Stage] = {}
    outer: dict[str, str] = {}
    steps = list(instructions(dockerfile.read_text()))
    last = sum(word == "FROM" for word, _ in steps)
    stage = None
    for word, rest in steps:
        print(f"{word} {rest}"[:160], flush=True)
        start = time.monotonic()
        if word == "FROM":
            image, _, name = put_in(rest, outer).partition(" AS ")
            folder = root if len(stages) + 1 == last else root.with_name(f"{root.name}.stage{len(stages)}")
            stage = stages[name or str(len(stages))] = Stage(folder)
            make_base(image, folder)
        elif word == "ARG":
            name, _, default = rest.partition("=")
            (stage.arguments if stage else outer)[name] = given.get(name, default.strip('"'))
        elif stage is None:
            raise SystemExit(f"error: {word} before FROM")
        else:
            step(word, rest, stage, stages)
        print(f"  {time.monotonic() - start:.0f} s", flush=True)
    for one in stages.values():
        for place in OF_THE_KERNEL:
            subprocess.run(["umount", "--recursive", one.root / place], check=True)
        if one.root != root:
            remove(one.root)


def step(word: str, rest: str, stage: Stage, stages: dict[str, Stage]) -> None:
    """Run one instruction other than FROM and ARG."""
    known = stage.arguments | stage.variables
    if word == "ENV":
        for pair in shlex.split(rest):
            name, equals, value = pair.partition("=")
            if not equals:
                raise SystemExit(f"error: ENV {rest}: only NAME=VALUE is known here")
            stage.variables[name] = put_in(value, known)
    elif word == "WORKDIR":
        stage.folder = os.path.normpath(os.path.join(stage.folder, put_in(rest, known)))  # noqa: PTH118
        inside(stage, stage.folder).mkdir(parents=True, exist_ok=True)
    elif word == "USER":
        stage.user = rest
    elif word == "COPY":
        copy(shlex.split(put_in(rest, known)), stage, stages)
    elif word == "RUN":
        with mounted(rest, stage, stages) as command:
            run(command, stage)
    elif word not in HARMLESS:
        raise SystemExit(f"error: {word}: not known here")


def make_base(image: str, root: Path) -> None:
    """Make Debian's release of the image with its Python, whose programs get the names that they have in the image."""
    found = BASE.fullmatch(image)
    if not found:
        raise SystemExit(f"error: FROM {image}: only python:3.X-slim-RELEASE by its digest is known here")
    version = found["version"]
    packages = f"python{version},python{version}-venv,python3-pip,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={packages}", found["release"], root], check=True)
    for name in OF_THIS_MACHINE:
        if Path(name).is_dir():
            shutil.copytree(name, root / name.lstrip("/"), dirs_exist_ok=True)
        elif Path(name).is_file():
            shutil.copy(name, root / name.lstrip("/"))
    for place in OF_THE_KERNEL:
        subprocess.run(["mount", "--rbind", f"/{place}", root / place], check=True)
    # An environment at /usr/local is what the image has: its own python, pip and folder of libraries.
    run(f"update-ca-certificates && python{version} -m venv /usr/local", Stage(root))


def remove(root: Path) -> None:
    """Delete the folder of a stage, unless something is mounted there: its files are those of this machine."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if left := [place for place in places if f"{place}/".startswith(f"{root.resolve()}/")]:
        raise SystemExit(f"error: {left[0]} is still mounted; unmount it before you delete {root}")
    shutil.rmtree(root)


def copy(words: list[str], stage: Stage, stages: dict[str, Stage]) -> None:
    """Copy files and folders from the context or from another stage."""
    context = Path.cwd()
    if words[0].startswith("--from="):
        context = stages[words.pop(0).removeprefix("--from=")].root
    if words[0].startswith("--"):
        raise SystemExit(f"error: COPY {words[0]}: not known here")
    *sources, target = words
    place = inside(stage, os.path.join(stage.folder, target))  # noqa: PTH118
    for name in sources:
        source = context / name.lstrip("/")
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            into = place / source.name if len(sources) > 1 or target.endswith("/") else place
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, into)


@contextmanager
def mounted(rest: str, stage: Stage, stages: dict[str, Stage]) -> Iterator[str]:
    """Give the command of a RUN, while a folder that it binds from another stage is in its place."""
    option, _, command = rest.partition(" ")
    if not option.startswith("--"):
        yield rest
        return
    told = dict(pair.partition("=")[::2] for pair in option.removeprefix("--mount=").split(","))
    if set(told) != {"type", "from", "source", "target"} or told["type"] != "bind":
        raise SystemExit(f"error: RUN {option}: not known here")
    target = inside(stage, told["target"])
    target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", inside(stages[told["from"]], told["source"]), target], check=True)
    try:
        yield command.strip()
    finally:
        subprocess.run(["umount", target], check=True)
        target.rmdir()


def run(command: str, stage: Stage) -> None:
    """Run a command in the stage's root with /bin/sh, as its user, with its variables and no others."""
    user, _, group = stage.user.partition(":")
    drop = ["setpriv", f"--reuid={user}", f"--regid={group or user}", "--clear-groups"]
    home = "/root" if user == "0" else f"/home/{user_name(stage, user)}"
    passed = {name: os.environ[name] for name in PREDEFINED if name in os.environ} | {"HOME": home}
    variables = [f"{name}={value}" for name, value in (passed | stage.arguments | stage.variables).items()]
    words = ["chroot", str(stage.root), *drop, "env", "-i", *variables]
    subprocess.run([*words, "/bin/sh", "-c", f"cd {shlex.quote(stage.folder)} && {command}"], check=True)


def user_name(stage: Stage, number: str) -> str:
    """Return the name of a user in the stage."""
    for line in (stage.root / "etc" / "passwd").read_text().splitlines():
        if line.split(":")[2] == number:
            return line.split(":")[0]
    raise SystemExit(f"error: USER {number}: there is no such user in the image")


def inside(stage: Stage, path: str) -> Path:
    """Return where a path of the image is on this machine."""
    return stage.root / path.lstrip("/")


if __name__ == "__main__":
    given = dict(pair.split("=", 1) for pair in os.environ.get("BUILD_ARGS", "").split() if "=" in pair)
    build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]), given)
