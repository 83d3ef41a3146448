"""docker-compose.yml: Postgres, an S3 server, two gateways and a load balancer, from one command."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest
import yaml

from e2e.debian_images import build_haproxy, build_postgres, build_prometheus, build_seaweedfs
from e2e.images import medium_image
from e2e.processes import eventually
from e2e.server import REPOSITORY_ROOT
from e2e.wire import Wire
from support.accounts import basic
from support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.conftest import Builds

# Whichever test comes first builds the image, from packages that are fetched.
pytestmark = pytest.mark.timeout(1800)

PROJECT = "slipway-compose-test"
BUILDERS = {
    "postgres": build_postgres,
    "haproxy": build_haproxy,
    "chrislusf/seaweedfs": build_seaweedfs,
    "prom/prometheus": build_prometheus,
}


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the load balancer and Prometheus answer."""

    registry: str
    prometheus: str


@pytest.fixture(scope="module")
def installation(builds: Builds) -> Iterator[Installation]:
    """Start the file as it is, with images of its names made of Debian packages."""
    services = yaml.safe_load((REPOSITORY_ROOT / "docker-compose.yml").read_text())["services"].values()
    for reference in {service["image"] for service in services if "build" not in service}:
        BUILDERS[reference.partition(":")[0]](builds.docker, builds.folder, builds.base, reference)
    installed = Installation(*(f"127.0.0.1:{port}" for port in free_ports(2)))
    variables = {
        "GATEWAY_IMAGE": builds.slipway,
        "REGISTRY_ADDRESS": installed.registry,
        "PROMETHEUS_ADDRESS": installed.prometheus,
        "COMPOSE_PROFILES": "monitoring",
    }
    try:
        builds.docker.compose(PROJECT, "up", "--detach", "--no-build", **variables)
        eventually(lambda: answers(installed.registry), "the load balancer to have a gateway")
        yield installed
    except BaseException as error:
        error.add_note(builds.docker.compose(PROJECT, "logs", "--no-color", "--tail=30", **variables))
        raise
    finally:
        builds.docker.compose(PROJECT, "down", "--volumes", "--timeout=5", **variables)


def answers(address: str) -> bool:
    """Tell whether a gateway answers through the load balancer, which asks for a login."""
    try:
        return Wire(address).request("GET", "/v2/").status == 401
    except OSError:
        return False


def test_forged_headers_are_ignored(installation: Installation) -> None:
    """What a client says of its address, host and scheme is replaced by what the load balancer sees."""
    forged = {"Forwarded": "for=192.0.2.1;host=evil.example.com", "X-Forwarded-Host": "evil.example.com"}
    forged |= {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "1"}
    wire, said = Wire(installation.registry, forged), []

    def asks_for_a_login() -> bool:
        answer = wire.request("GET", "/v2/")
        said.append(answer.headers["WWW-Authenticate"])
        return answer.status == 401

    # The load balancer may have found both gateways not ready a moment ago.
    eventually(asks_for_a_login, "the load balancer to have a gateway again")
    assert f'realm="http://{installation.registry}/token"' in said[-1]


def root_key(builds: Builds) -> tuple[str, str]:
    """Read the root account's key from the log of the gateway that has made it, as a person would."""
    log = builds.docker.compose(PROJECT, "logs", "--no-color", "gateway-1", "gateway-2")
    found = re.search(r"docker login -u (\S+) -p (\S+) ", log)
    assert found, log
    return found[1], found[2]


def test_prometheus_reads_both_gateways(installation: Installation) -> None:
    """Both are targets, and up; its alerts are there."""

    def up() -> set[str]:
        answer = Wire(installation.prometheus).request("GET", "/api/v1/targets?state=active")
        targets = json.loads(answer.body)["data"]["activeTargets"]
        return {target["labels"]["instance"] for target in targets if target["health"] == "up"}

    eventually(lambda: up() == {"gateway-1:9100", "gateway-2:9100"}, "Prometheus to have read both gateways")
    rules = json.loads(Wire(installation.prometheus).request("GET", "/api/v1/rules").body)
    assert [group["name"] for group in rules["data"]["groups"]] == ["slipway"]


def test_push_and_pull_while_gateways_leave(builds: Builds, installation: Installation) -> None:
    """A client logs in, pushes and pulls; each gateway in turn leaves and comes back, and all stays there."""
    user, secret = root_key(builds)
    builds.docker("login", "--username", user, "--password", secret, installation.registry)
    reference = f"{installation.registry}/compose/round:v1"
    image_id = builds.docker.load(medium_image("compose"), reference)
    _, digest = builds.docker.push(reference)
    wire = Wire(installation.registry, {"Authorization": basic(user, secret)})
    assert wire.verify("compose/round", "v1") == digest
    for gateway in ("gateway-1", "gateway-2"):
        builds.docker.compose(PROJECT, "stop", gateway)
        assert exit_code(builds, gateway) == 0
        assert builds.docker.pull_anew(reference, image_id) == image_id
        builds.docker.compose(PROJECT, "start", gateway)
        eventually(partial(is_healthy, builds, gateway), f"{gateway} to be healthy")


def exit_code(builds: Builds, service: str) -> int:
    """Return the exit code of a service that was stopped."""
    return int(state(builds, service, "{{.State.ExitCode}}"))


def is_healthy(builds: Builds, service: str) -> bool:
    """Tell what the image's health check has found."""
    return state(builds, service, "{{.State.Health.Status}}") == "healthy"


def state(builds: Builds, service: str, template: str) -> str:
    """Return something about a service's container."""
    # Its name has an underscore or a hyphen, by the release of docker-compose.
    label = f"label=com.docker.compose.service={service}"
    container = builds.docker("ps", "--all", "--quiet", "--filter", label).strip()
    return builds.docker("container", "inspect", "--format", template, container).strip()
