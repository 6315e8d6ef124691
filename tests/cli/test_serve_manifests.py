"""What starts the server elsewhere (Compose, Kubernetes) starts it with flags that it takes, confined, and at our version."""

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.serve import configure, settings_of
from fineline import __version__
from tests.conftest import PROJECT

COMPOSE = PROJECT / "docker" / "compose.yaml"
SERVING = PROJECT / "k8s" / "serving"


def arguments(command: list[str]) -> argparse.Namespace:
    """The flags that a container gives `fineline serve`, as the command line reads them."""
    assert command[:4] == ["python", "-m", "cli", "serve"]
    parser = argparse.ArgumentParser()
    configure(parser)
    return parser.parse_args(command[4:])


def containers() -> list[dict[str, Any]]:
    """The containers of k8s/serving."""
    found = []
    for file in sorted(SERVING.rglob("*.yaml")):
        for thing in yaml.safe_load_all(file.read_text()):
            spec = thing.get("spec", {})
            pod = spec.get("predictor") or spec.get("template", {}).get("spec", {})
            found += [(pod, container) for container in pod.get("containers", [])]
    return found


def test_kubernetes_gives_the_server_flags_that_it_takes_and_time_to_end() -> None:
    found = containers()
    assert len(found) == 2
    for pod, container in found:
        settings = settings_of(arguments(container["command"] + container["args"]))
        assert (settings.model, settings.host) == ("models:/fineline@champion", "0.0.0.0")
        assert settings.threads == int(container["resources"]["limits"]["cpu"])
        assert settings.port == container["ports"][0]["containerPort"]
        assert settings.drain_seconds + settings.shutdown_seconds < pod["terminationGracePeriodSeconds"]
    assert {container["name"] for _, container in found} == {"serve", "kserve-container"}


def test_both_ways_on_kubernetes_run_the_same_container() -> None:
    (_, one), (_, other) = containers()
    differ = {key for key in one | other if one.get(key) != other.get(key)}
    assert differ == {"name", "env", "ports", "startupProbe", "readinessProbe", "livenessProbe"}
    assert [variable for variable in other["env"] if variable not in one["env"]] == [
        {"name": "PROTOCOL", "value": "v2"}
    ]


def test_compose_runs_both_images_confined() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert {name: service["image"] for name, service in services.items()} == {
        name: f"fineline/{name}:{__version__}" for name in ("mlflow", "serve")
    }
    for service in services.values():
        assert (service["user"], service["read_only"], service["tmpfs"]) == ("65532:65532", True, ["/tmp"])
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["healthcheck"]["test"][:3] == ["CMD", "python", "-c"]
        compile(service["healthcheck"]["test"][3], "healthcheck", "exec")
    settings = settings_of(arguments(services["serve"]["command"]))
    assert settings.model == "models:/fineline@champion"
    assert settings.drain_seconds + settings.shutdown_seconds < int(services["serve"]["stop_grace_period"][:-1])
    assert services["serve"]["depends_on"] == {"mlflow": {"condition": "service_healthy"}}


def test_compose_itself_takes_the_file(tmp_path: Path) -> None:
    plugin = shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    if plugin == 0:
        command, file = ["docker", "compose"], COMPOSE
    elif shutil.which("docker-compose"):  # the older program does not know `name`
        command, file = ["docker-compose"], tmp_path / "compose.yaml"
        file.write_text(COMPOSE.read_text().replace("name: fineline\n", ""))
    else:
        pytest.skip(
            "NEITHER docker compose NOR docker-compose IS INSTALLED: THE FILE IS PARSED, NOT CHECKED BY COMPOSE"
        )
    done = subprocess.run([*command, "-f", str(file), "config", "-q"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
