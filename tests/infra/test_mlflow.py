"""The MLflow server of compose.yaml and of Kubernetes: its command as MLflow reads it, the names it answers to."""

import configparser
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from .manifests import INFRA, found, locked

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own imports

COMPOSE = INFRA / "mlflow" / "compose.yaml"
AUTH_FILE = configparser.ConfigParser()
AUTH_FILE.read(INFRA / "mlflow" / "auth.ini")
AUTH = dict(AUTH_FILE["mlflow"])
SETTINGS = {"POSTGRES_PASSWORD": "postgres0", "S3_ACCESS_KEY": "access0", "S3_SECRET_KEY": "secret0"}
SETTINGS |= {"ADMIN_PASSWORD": "admin0", "SERVER_KEY": "server0"}


def interpolate(text: str, settings: dict[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?message}` as Docker Compose replaces them."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3] or ""
        if settings.get(name):
            return settings[name]
        if kind == ":?":
            raise ValueError(f"required variable {name} is missing a value: {rest}")
        return rest

    return re.sub(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", value, text)


def services(settings: dict[str, str] | None = None) -> dict[str, Any]:
    return yaml.safe_load(interpolate(COMPOSE.read_text(), SETTINGS if settings is None else settings))["services"]


def deployment() -> dict[str, Any]:
    return found("gpu", "platform", "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0]


SERVERS = {"compose": lambda: services()["mlflow"]["command"], "k8s": lambda: deployment()["command"]}


@pytest.fixture(params=SERVERS)
def command(request: pytest.FixtureRequest) -> list[str]:
    return SERVERS[request.param]()


def options(command: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What MLflow's own parser makes of a server's command line; it starts nothing."""
    from mlflow.cli import cli

    for name in ("MLFLOW_HOST", "MLFLOW_PORT", "MLFLOW_BACKEND_STORE_URI"):
        monkeypatch.delenv(name, raising=False)
    program, verb, *arguments = command
    assert program == "mlflow"
    return cli.commands[verb].make_context(verb, arguments).params


def test_mlflow_understands_the_command(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = options(command, monkeypatch)
    assert parsed["host"] == "0.0.0.0"  # noqa: S104
    assert parsed["port"] == 5000
    assert parsed["serve_artifacts"]
    assert parsed["app_name"] == "basic-auth"


def test_mlflow_refuses_a_wrong_option(monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    with pytest.raises(click.NoSuchOption, match="allowed-host"):
        options(["mlflow", "server", "--allowed-host=mlflow:5000"], monkeypatch)


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("mlflow:5000", True),  # --tracking.uri http://mlflow:5000
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("mlflow", False),  # port 80, which nobody serves
        ("attacker.example:5000", False),
    ],
)
def test_the_server_answers_to_its_names(
    command: list[str], host: str, answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    allowed = [name.strip() for name in options(command, monkeypatch)["allowed_hosts"].split(",")]
    assert is_allowed_host_header(allowed, host) is answered


def test_the_service_name_is_an_allowed_host_with_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, service in services().items():
        command = service.get("command", [])
        if "server" in command and command[0] == "mlflow":
            assert f"{name}:5000" in options(command, monkeypatch)["allowed_hosts"].split(",")


def test_further_hosts_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    command = services({**SETTINGS, "MLFLOW_EXTRA_HOSTS": ",tracking.example.com:5000"})["mlflow"]["command"]
    assert options(command, monkeypatch)["allowed_hosts"].split(",")[-1] == "tracking.example.com:5000"


def test_the_database_is_the_one_that_is_started() -> None:
    there = services()
    server, database = there["mlflow"]["environment"], there["postgres"]["environment"]
    assert server["MLFLOW_BACKEND_STORE_URI"] == AUTH["database_uri"] == "postgresql+psycopg://"
    assert server["PGHOST"] in there
    assert [server[name] for name in ("PGUSER", "PGPASSWORD", "PGDATABASE")] == [
        database[name] for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB")
    ]


def test_postgres_in_kubernetes_is_the_one_that_is_asked() -> None:
    server = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in deployment()["env"]}
    assert server["MLFLOW_BACKEND_STORE_URI"] == AUTH["database_uri"]
    postgres = found("gpu", "platform", "StatefulSet", "mlflow-postgres")["spec"]
    container = postgres["template"]["spec"]["containers"][0]
    there = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
    assert server["PGHOST"] == postgres["serviceName"]
    assert [server[name] for name in ("PGUSER", "PGPASSWORD", "PGDATABASE")] == [
        there[name] for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB")
    ]


def test_the_settings_of_the_login_are_mlflows_and_hold_no_password() -> None:
    import mlflow.server

    own = configparser.ConfigParser()
    own.read(Path(mlflow.server.__file__).parent / "auth" / "basic_auth.ini")
    commented = {"auth_cache_ttl_seconds"}
    assert set(AUTH) <= set(own["mlflow"]) | commented
    assert "admin_password" not in AUTH
    assert AUTH["default_permission"] == "READ"


def test_artifacts_go_through_the_bucket_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    there = services()
    bucket = options(there["mlflow"]["command"], monkeypatch)["artifacts_destination"].split("/")[2]
    assert bucket == runpy.run_path(str(INFRA / "mlflow" / "objects.py"))["BUCKET"]
    assert options(deployment()["command"], monkeypatch)["artifacts_destination"].split("/")[2] == bucket
    assert there["bucket"]["command"] == ["python", "/app/objects.py", "make"]
    endpoint = there["mlflow"]["environment"]["MLFLOW_S3_ENDPOINT_URL"]
    assert endpoint.partition("://")[2].partition(":")[0] in there


def test_images_are_pinned_and_services_watched() -> None:
    for name, service in services().items():
        tag = service["image"].partition("@")[0].rpartition(":")[2]
        assert re.search(r"\d+\.\d+", tag), f"{name}: {service['image']}"
        asked = "profiles" in service or service.get("restart", "").startswith("on-failure")  # it runs and ends
        assert "healthcheck" in service or asked, name
    assert {service["image"] for service in services().values()} & {deployment()["image"].rpartition("/")[2]}


def test_what_services_wait_for_exists() -> None:
    there = services()
    for service in there.values():
        for other, how in service.get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            assert ("healthcheck" in there[other]) is healthy


def test_volumes_are_named() -> None:
    compose = yaml.safe_load(COMPOSE.read_text())
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    assert {mount.partition(":")[0] for mount in mounts if isinstance(mount, str)} == set(compose["volumes"])


def test_what_saves_and_restores_finds_database_store_and_folder() -> None:
    there = services({**SETTINGS, "MLFLOW_BACKUP": "/mnt/backup"})
    database, artifacts, server = there["database"], there["artifacts"], there["mlflow"]["environment"]
    assert database["environment"].items() <= server.items()
    assert artifacts["environment"].items() <= server.items()
    assert (INFRA / "mlflow" / database["volumes"][0]["source"]).is_file()
    assert database["entrypoint"][-1] == database["volumes"][0]["target"]
    for service in (database, artifacts):
        mount = service["volumes"][-1]
        assert (mount["source"], mount["target"]) == ("/mnt/backup", "/backup")
        assert not mount["bind"]["create_host_path"]  # Docker would make it for root alone
        assert service["profiles"] == ["backup"]  # `up` starts neither


def test_nothing_but_mlflow_is_published_and_that_on_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"mlflow": ["127.0.0.1:5000:5000"]}


def test_secrets_are_asked_for_and_not_in_the_repository() -> None:
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    example = dict(
        line.split("=", 1)
        for line in (INFRA / "mlflow" / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert set(example) == asked
    assert {name for name, value in example.items() if not value} >= set(SETTINGS)
    for name in SETTINGS:
        with pytest.raises(ValueError, match=name):
            services({**SETTINGS, name: ""})


def test_the_server_is_the_locked_mlflow() -> None:
    version = locked("mlflow")
    assert locked("mlflow", INFRA / "mlflow" / "requirements.lock") == version
    assert f"mlflow[auth]=={version}\n" in (INFRA / "mlflow" / "requirements.in").read_text()
    assert services()["mlflow"]["image"].endswith(f":{version}")
    assert deployment()["image"].endswith(f":{version}")
