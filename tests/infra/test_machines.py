"""Plain machines: the file of `ray up` by Ray's own schema, and systemd's units by systemd and by what they start."""

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from .manifests import INFRA, ROOT

MACHINES = INFRA / "machines"
UNITS = sorted(MACHINES.glob("*.service"))
VALUES = {"${HEAD_ADDRESS}": "10.0.0.10", "${MLFLOW_BIND}": "10.0.0.10", "${MLFLOW_NAMES}": "10.0.0.10:5000"}


def cluster() -> dict[str, Any]:
    return yaml.safe_load((MACHINES / "cluster.yaml").read_text())


def command(line: str) -> list[str]:
    """A unit's or shell's command, with values for its variables and without assignments before it."""
    for variable, value in VALUES.items():
        line = line.replace(variable, value)
    words = shlex.split(line)
    while "=" in words[0]:
        del words[0]
    return words


def service(path: Path) -> dict[str, str]:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    return dict(unit["Service"])


def understood(words: list[str]) -> click.Context:
    """Parse a command by the program that it names, which starts nothing; fails where that knows an option not."""
    if words[0].endswith("/ray"):
        from ray.scripts.scripts import cli
    else:
        from mlflow.cli import cli
    return cli.commands[words[1]].make_context(words[1], words[2:])


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = cluster()
    prepared = prepare_config(config)
    validate_config(prepared)  # in this order, as `ray up` does
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])


def test_ray_refuses_a_misspelt_field_of_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(jsonschema.ValidationError, match="'setup_command' was unexpected"):
        validate_config(prepare_config({**cluster(), "setup_command": []}))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own imports
@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_understands_the_commands_of_the_cluster_file(role: str) -> None:
    *_, start = cluster()[f"{role}_start_ray_commands"]
    assert "RAY_AUTH_MODE=token" in start
    assert understood(command(start)).params["metrics_export_port"] == 8080


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_head_is_told_its_address_and_does_not_ask_its_name_for_it() -> None:
    file = cluster()
    for line in (file["head_start_ray_commands"][-1], service(MACHINES / "ray-head.service")["ExecStart"]):
        assert understood(command(line)).params["node_ip_address"] == file["provider"]["head_ip"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_restart_always_and_start_what_exists(path: Path) -> None:
    unit = service(path)
    assert unit["Restart"] == "always"
    words = command(unit["ExecStart"])
    assert Path(sys.executable).with_name(Path(words[0]).name).is_file()
    params = understood(words).params
    assert params.get("block", True)  # without it, systemd would take Ray for ended
    assert unit["User"] != "root"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_unknown_option_of_a_unit_would_be_found() -> None:
    with pytest.raises(click.NoSuchOption):
        understood([*command(service(MACHINES / "ray-head.service")["ExecStart"]), "--blocks"])


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_accepts_the_units(path: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze: not there; it comes with the package systemd")
    text = path.read_text()
    for place in ("/opt/video-pipeline/.venv/bin", "/opt/mlflow/bin"):  # where the programs lie on this machine
        text = text.replace(place, str(Path(sys.executable).parent))
    unit = tmp_path / path.name
    unit.write_text(text.replace("/opt/video-pipeline", str(ROOT)))
    done = subprocess.run([program, "verify", unit], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if path.name in line]
    assert (done.returncode, complaints) == (0, []), done.stderr
