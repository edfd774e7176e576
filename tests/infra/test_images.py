"""Dockerfiles, and what reaches a builder or a cluster of a working tree."""

import re
import shutil
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from .manifests import INFRA, ROOT, locked

DOCKERFILES = [INFRA / "Dockerfile", INFRA / "mlflow" / "Dockerfile"]
NEVER = [
    ".git/config",
    ".venv/bin/python",
    "outputs/shards/train-00000.parquet",
    "mlruns/0/meta.yaml",
    "mlflow.db",
    "infra/mlflow/.env",
    "backup/mlflow-2026-11-30T021500Z.dump",
    "pipeline/__pycache__/config.cpython-311.pyc",
]


def instructions(path: Path) -> list[str]:
    """A Dockerfile's instructions, each on one line, without comments."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return [line.strip() for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines() if line.strip()]


def sources(path: Path) -> list[str]:
    """What a Dockerfile copies from the context."""
    copies = [line.split()[1:-1] for line in instructions(path) if line.startswith("COPY ")]
    return [source for copy in copies if not copy[0].startswith("--from") for source in copy]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file out: the last pattern that matches it or a folder above it decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").strip("/")
        parts = Path(path).parts
        if any(_matches("/".join(parts[:end]), pattern) for end in range(1, len(parts) + 1)):
            verdict = not line.startswith("!")
    return verdict


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatchcase(path.rpartition("/")[2], pattern.removeprefix("**/"))
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_copied_exists_and_reaches_the_builder(path: Path) -> None:
    assert sources(path)
    for source in sources(path):
        assert (ROOT / source).exists(), source
        inside = [f for f in (ROOT / source).rglob("*.py") if "__pycache__" not in f.parts] or [ROOT / source]
        assert not [f for f in inside if ignored(str(f.relative_to(ROOT)))], source


def test_nothing_else_reaches_the_builder() -> None:
    assert not [path for path in NEVER if not ignored(path)]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_images_run_as_a_user_on_a_pinned_base(path: Path) -> None:
    lines = instructions(path)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000:1000"]
    assert not any(":latest" in line for line in lines)
    assert re.search(r"\b3\.\d+-slim-\w+", "\n".join(lines))


def test_public_images_are_named_by_their_digest() -> None:
    named = [line.split()[1] for path in DOCKERFILES for line in instructions(path) if line.startswith("FROM ")]
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", (INFRA / "Dockerfile").read_text(), re.MULTILINE))
    named = [re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], image) for image in named]
    for path in INFRA.rglob("*.yaml"):
        named += re.findall(r"^\s*image: (?:&\w+ )?([^\s*]\S*)", path.read_text(), re.MULTILINE)
    public = [image for image in named if not image.startswith(("registry.example.com/", "video-pipeline"))]
    assert len(public) >= 5
    assert [image for image in public if not re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)] == []
    assert len({image for image in public if image.startswith("python:")}) == 1


@pytest.mark.parametrize(
    "lock",
    [ROOT / "requirements.lock", INFRA / "mlflow" / "requirements.lock"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_lock_has_the_hashes_of_every_library_and_names_no_index(lock: Path) -> None:
    text = lock.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^-]+?)?( +--hash=sha256:[0-9a-f]{64})+", line), line[:200]
    assert "://" not in text


def test_pip_is_told_to_check_the_hashes() -> None:
    commands = [line for path in DOCKERFILES for line in instructions(path)]
    commands += (ROOT / "Makefile").read_text().replace("\\\n", " ").splitlines()
    locked_installs = [line for line in commands if re.search(r"pip install.* (-r|--requirement) ", line)]
    assert len(locked_installs) == 4
    assert [line for line in locked_installs if "--require-hashes" not in line] == []


def test_libraries_come_from_the_lock_before_the_code() -> None:
    text = (INFRA / "Dockerfile").read_text().partition("FROM python:${PYTHON}\n")[2]
    order = [text.index(word) for word in ("COPY requirements.lock", "--requirement", "/wheels/*.whl", "COPY jobs")]
    assert order == sorted(order)
    assert "--no-deps /wheels/*.whl" in text


def test_the_image_has_a_python_that_the_project_accepts() -> None:
    import tomllib

    from packaging.specifiers import SpecifierSet

    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    for path in DOCKERFILES:
        version = re.search(r"(3\.\d+)-slim", path.read_text())
        assert version
        assert version[1] in SpecifierSet(required)


def test_the_documented_tag_names_version_and_ray() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"video-pipeline:{version}-ray{locked('ray')} " in (INFRA / "Dockerfile").read_text()


@pytest.mark.parametrize("ignores", [(".gitignore", ".rayignore"), (".rayignore",)], ids=["clone", "without-git"])
def test_submitting_the_working_tree_uploads_code_only(ignores: tuple[str, ...], tmp_path: Path) -> None:
    """By Ray's own packaging of `ray job submit --working-dir .`."""
    from ray._private.runtime_env.packaging import create_package

    tree = tmp_path / "tree"
    wanted = ["jobs/ingest.py", "pipeline/config.py", "pipeline/recipes/demo.py"]
    for name in [*wanted, *NEVER]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    for name in ignores:
        shutil.copy(ROOT / name, tree / name)
    create_package(str(tree), tmp_path / "package.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        uploaded = {name for name in package.namelist() if not name.endswith("/")}
    assert set(wanted) <= uploaded
    assert not uploaded & set(NEVER)


def test_manifests_name_the_image_that_the_readme_builds() -> None:
    readme = (INFRA / "README.md").read_text()
    images = set()
    for path in INFRA.rglob("*.yaml"):
        images |= set(re.findall(r"registry\.example\.com/\S+", path.read_text()))
    assert images
    for image in images:
        assert image in readme
    assert yaml.safe_load((INFRA / "mlflow" / "compose.yaml").read_text())["name"]
