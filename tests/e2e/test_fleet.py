"""Two gateways behind a load balancer that knows no affinity, while they come and go."""

from __future__ import annotations

import base64
import json
import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from e2e.fleet import (
    CONSOLE,
    KEY_ID,
    PUBLIC,
    SECRET,
    Fleet,
    ask,
    fleet_ports,
    gateway,
    gateway_settings,
    haproxy,
    nginx,
    running,
    trusting_all,
)
from e2e.images import image_of, layer_of, noise, write_docker_archive, write_oci_layout
from e2e.processes import eventually
from e2e.wire import sha256
from support.postgres import new_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from e2e.engines import Containers, Docker
    from e2e.fleet import Answer
    from e2e.images import Image
    from support.databases import Server as DatabaseServer
    from support.seaweed import SeaweedFS

BASIC = {"Authorization": "Basic " + base64.b64encode(f"{KEY_ID}:{SECRET}".encode()).decode()}
CONTENT = os.urandom(12_000_000)
OUTSIDE = "203.0.113.7"
ROUNDS = (10, 8, 7)
"""Of docker, podman and skopeo; each is a push and a pull."""


@pytest.fixture(scope="module")
def fleet(embedded_server: DatabaseServer, seaweed: SeaweedFS, workplace: Path) -> Iterator[Fleet]:
    """Two gateways behind HAProxy."""
    folder = workplace / "fleet"
    folder.mkdir()
    ports = fleet_ports()
    settings = gateway_settings(new_database(embedded_server.dsn, "fleet"), seaweed, folder, "fleet")
    gateways = [gateway(folder, f"gateway{n}", settings, ports[2 * n :]) for n in (1, 2)]
    with running(Fleet(gateways, haproxy(folder, gateways, (ports[0], ports[1])))) as started:
        yield started


def managed(fleet: Fleet, method: str, path: str, document: object = None) -> Answer:
    """Ask the management API through the load balancer."""
    body = json.dumps(document).encode() if document is not None else b""
    headers = {**BASIC, "Content-Type": "application/json"}
    return ask(fleet.balancer.public_port, method, path, body, host=CONSOLE, tls=trusting_all(), headers=headers)


def private_host(fleet: Fleet) -> str:
    """Return the private host of the default registry."""
    found: str = json.loads(managed(fleet, "GET", "/api/registries/team").body)["private_host"]
    return found


# --- clients, while gateways come and go -------------------------------------------------------------


def an_image(name: str) -> Image:
    """Make an image whose second layer takes two parts of a multipart upload."""
    return image_of([layer_of({"hello": name.encode()}), layer_of({"random": noise(name, 9 << 20)}, level=0)])


def docker_round(docker: Docker, address: str, number: int) -> None:
    reference = f"{address}/fleet/docker:v{number}"
    image = an_image(f"docker {address} {number}")
    image_id = docker.load(image, reference)
    docker.push(reference)
    assert docker.pull_anew(reference, image_id) == image.id
    docker.forget(image_id)


def podman_round(containers: Containers, address: str, desk: Path, number: int) -> None:
    reference = f"{address}/fleet/podman:v{number}"
    image = an_image(f"podman {address} {number}")
    archive = desk / f"podman-{number}.tar"
    write_docker_archive(image, reference, archive)
    containers.podman("load", "--quiet", "--input", str(archive))
    containers.podman("push", "--tls-verify=false", "--quiet", reference)
    containers.podman("image", "rm", "--force", image.id.removeprefix("sha256:"))
    containers.podman("pull", "--tls-verify=false", "--quiet", reference)
    found = containers.podman("image", "inspect", "--format", "{{.Id}}", reference).strip()
    assert f"sha256:{found}" == image.id
    containers.podman("image", "rm", "--force", found)


def skopeo_round(containers: Containers, address: str, desk: Path, number: int) -> None:
    target = f"docker://{address}/fleet/skopeo:v{number}"
    image = an_image(f"skopeo {address} {number}")
    there, back = desk / f"skopeo-{number}", desk / f"skopeo-{number}-back"
    write_oci_layout(image, "v1", there)
    containers.skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{there}:v1", target)
    containers.skopeo("copy", "--preserve-digests", "--src-tls-verify=false", target, f"oci:{back}:v1")
    blobs = {path.name: path.read_bytes() for path in (back / "blobs" / "sha256").iterdir()}
    assert blobs == {sha256(blob).removeprefix("sha256:"): blob for blob in image.blobs()}


class Team:
    """Work that several threads do; the first failure of each is kept."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, count: int, play: Callable[[int], None]) -> None:
        """Play so many rounds in a thread."""

        def run() -> None:
            try:
                for number in range(count):
                    play(number)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                self.failures.append(error)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def wait(self) -> None:
        """Wait for all; raises the first failure."""
        for thread in self._threads:
            thread.join()
        for failure in self.failures:
            raise failure

    def is_busy(self) -> bool:
        return not self.failures and any(thread.is_alive() for thread in self._threads)


def restart_in_turn(fleet: Fleet, team: Team) -> int:
    """End and start one gateway after the other as long as somebody works; return how often."""
    count = 0
    while team.is_busy():
        for each in fleet.gateways:
            each.stop()
            each.start()
            eventually(fleet.balancer.are_up, "the load balancer to see that both are ready")
            count += 1
    return count


def test_clients_notice_nothing_while_gateways_come_and_go(
    fleet: Fleet, docker: Docker, containers: Containers, desk: Path
) -> None:
    """50 pushes and pulls succeed, and the load balancer has seen no failure that a client could have repeated."""
    address = f"127.0.0.1:{fleet.balancer.public_port}"
    docker("login", "--username", KEY_ID, "--password", SECRET, address)
    containers.podman("login", "--tls-verify=false", "--username", KEY_ID, "--password", SECRET, address)
    rounds = (
        (ROUNDS[0], partial(docker_round, docker, address)),
        (ROUNDS[1], partial(podman_round, containers, address, desk)),
        (ROUNDS[2], partial(skopeo_round, containers, address, desk)),
    )
    team = Team()
    for count, play in rounds:
        team.start(count, play)

    restarts = restart_in_turn(fleet, team)

    team.wait()
    assert 2 * sum(ROUNDS) == 50
    assert restarts >= 2
    figures = {(row["pxname"], row["svname"]): row for row in fleet.balancer.statistics()}
    assert int(figures["public", "FRONTEND"]["req_tot"]) > 500
    for server in ("gateway1", "gateway2"):
        row = figures["public", server]
        assert int(row["hrsp_2xx"]) > 50
        # Answers of a server's own fault, transfers that it broke off, connections that it refused or cut.
        assert {name: row[name] for name in ("hrsp_5xx", "srv_abrt", "eresp", "econ")} == dict.fromkeys(
            ("hrsp_5xx", "srv_abrt", "eresp", "econ"), "0"
        )


# --- one system --------------------------------------------------------------------------------------


def test_each_step_of_an_upload_may_land_on_another_machine(fleet: Fleet) -> None:
    """Nothing of it is kept where it was begun."""
    one, other = (each.port for each in fleet.gateways)
    third = len(CONTENT) // 3
    path = ask(one, "POST", "/v2/fleet/steps/blobs/uploads/", host="localhost", headers=BASIC).headers["Location"]
    for port, start in ((other, 0), (one, third), (other, 2 * third)):
        chunk = CONTENT[start : start + third]
        place = {"Content-Range": f"{start}-{start + len(chunk) - 1}"}
        answer = ask(port, "PATCH", path, chunk, host="localhost", headers={**BASIC, **place})
        assert answer.status == 202
        assert answer.headers["Range"] == f"0-{start + len(chunk) - 1}"
        path = answer.headers["Location"]

    done = ask(one, "PUT", f"{path}?digest={sha256(CONTENT)}", host="localhost", headers=BASIC)

    assert done.status == 201
    assert ask(other, "GET", done.headers["Location"], host="localhost", headers=BASIC).body == CONTENT


def test_a_token_of_one_machine_is_good_on_another(fleet: Fleet) -> None:
    """They are signed with keys that all have."""
    one, other = (each.port for each in fleet.gateways)
    challenge = ask(one, "GET", "/v2/", host="localhost").headers["WWW-Authenticate"]
    service = challenge.partition('service="')[2].partition('"')[0]
    query = f"service={service}&scope=repository:fleet/token:pull,push"
    token = json.loads(ask(one, "GET", f"/token?{query}", host="localhost", headers=BASIC).body)["token"]

    for port in (one, other):
        bearer = {"Authorization": f"Bearer {token}"}
        assert ask(port, "POST", "/v2/fleet/token/blobs/uploads/", host="localhost", headers=bearer).status == 202


# --- endpoints and networks --------------------------------------------------------------------------


def statuses(fleet: Fleet, headers: Mapping[str, str] | None = None) -> dict[tuple[str, str], int]:
    """Return what the public and the private host answer at each side of the load balancer."""
    hosts = {"public": f"team.{PUBLIC}", "private": private_host(fleet)}
    sides = {"public": fleet.balancer.public_port, "private": fleet.balancer.private_port}
    lines = {**BASIC, **(headers or {})}
    return {
        (side, name): ask(port, "GET", "/v2/", host=host, tls=trusting_all(), headers=lines).status
        for side, port in sides.items()
        for name, host in hosts.items()
    }


APART = {
    ("public", "public"): 200,
    ("public", "private"): 404,
    ("private", "public"): 404,
    ("private", "private"): 200,
}
SHUT = dict.fromkeys(APART, 404)
FORGERIES = [
    {"X-Forwarded-For": OUTSIDE},
    {"Forwarded": f"for={OUTSIDE};host=team.{PUBLIC};proto=http"},
    {"X-Forwarded-For": f"{OUTSIDE}, {OUTSIDE}", "Forwarded": f'for="{OUTSIDE}:80"'},
]


def check_sides(fleet: Fleet) -> None:
    """See that hosts are where they belong, and that networks hold whatever a client says of itself."""
    for networks, wanted in (([], APART), ([f"{OUTSIDE}/32"], SHUT), (["127.0.0.1/32"], APART)):
        change = {"public_networks": networks, "private_networks": networks or ["127.0.0.0/8"]}
        assert managed(fleet, "PATCH", "/api/registries/team", change).status == 200
        # All four workers have heard of it within a second.
        eventually(partial(hold, fleet, wanted), "the change to hold")
        for headers in FORGERIES:
            assert statuses(fleet, headers) == wanted


def hold(fleet: Fleet, wanted: Mapping[tuple[str, str], int]) -> bool:
    """Tell whether hosts answer as wanted, whichever worker is asked."""
    return all(statuses(fleet) == wanted for _ in range(4))


def test_each_side_has_its_hosts_and_networks(fleet: Fleet) -> None:
    """By forwarded headers on one side, and by the PROXY protocol around TLS on the other."""
    check_sides(fleet)


def test_the_challenge_leads_through_the_load_balancer(fleet: Fleet) -> None:
    """The one address that clients get in full, on either side: its scheme, host and port."""
    for port, host in (
        (fleet.balancer.public_port, f"team.{PUBLIC}"),
        (fleet.balancer.private_port, private_host(fleet)),
    ):
        answer = ask(port, "GET", "/v2/", host=f"{host}:{port}", tls=trusting_all())
        assert answer.status == 401
        assert f'realm="https://{host}:{port}/token"' in answer.headers["WWW-Authenticate"]


def test_nginx_works_as_well(
    embedded_server: DatabaseServer, seaweed: SeaweedFS, containers: Containers, desk: Path
) -> None:
    """Hosts and networks hold, a real client pushes and pulls, also when one gateway is gone."""
    ports = fleet_ports()
    settings = {
        **gateway_settings(new_database(embedded_server.dsn, "fleet_nginx"), seaweed, desk, "fleet-nginx"),
        "SLIPWAY_PRIVATE_PROXY_PROTOCOL": "",
        "SLIPWAY_PRIVATE_TRUSTED_PROXIES": "127.0.0.1/32",
        "SLIPWAY_PRIVATE_TLS_CERTIFICATE": "",
        "SLIPWAY_PRIVATE_TLS_KEY": "",
        "SLIPWAY_UNREADY_SECONDS": "0",
    }
    gateways = [gateway(desk, f"gateway{n}", settings, ports[2 * n :]) for n in (1, 2)]
    with running(Fleet(gateways, nginx(desk, gateways, (ports[0], ports[1])))) as fleet:
        check_sides(fleet)
        address = f"127.0.0.1:{ports[0]}"
        containers.podman("login", "--tls-verify=false", "--username", KEY_ID, "--password", SECRET, address)
        for number, away in enumerate((None, *gateways)):
            if away is not None:
                away.stop()
            skopeo_round(containers, address, desk, number)
            if away is not None:
                away.start()
