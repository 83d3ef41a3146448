"""Client, load balancer, gateways and storage on machines of their own: who is believed, and who is let in."""

from __future__ import annotations

import base64
import json
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from e2e.fleet import (
    CONSOLE,
    KEY_ID,
    PUBLIC,
    SECRET,
    Fleet,
    ask,
    gateway,
    gateway_settings,
    haproxy,
    trusting_all,
)
from e2e.images import image_of, layer_of, noise, write_oci_layout
from e2e.namespaces import network
from e2e.processes import eventually
from e2e.wire import sha256
from support.postgres import new_database
from support.seaweed import start_seaweedfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.engines import Containers
    from e2e.namespaces import Network
    from support.databases import Server as DatabaseServer

CLIENT, BALANCER, STORAGE = "10.77.0.1", "10.77.0.2", "10.77.0.5"
GATEWAYS = ("10.77.0.11", "10.77.0.12")
BASIC = {"Authorization": "Basic " + base64.b64encode(f"{KEY_ID}:{SECRET}".encode()).decode()}
HOST = f"team.{PUBLIC}"


@pytest.fixture(scope="module")
def machines() -> Iterator[Network]:
    """Five machines on a switch."""
    one, two = GATEWAYS
    with network(client=CLIENT, balancer=BALANCER, storage=STORAGE, gateway1=one, gateway2=two) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(machines: Network, embedded_server: DatabaseServer, workplace: Path) -> Iterator[Fleet]:
    """Start each program on its machine. Postgres is reached by a socket of the file system, which all share."""
    desk = workplace / "machines"
    desk.mkdir()
    with ExitStack() as stack:
        with machines.at("storage"):
            seaweed = start_seaweedfs(desk / "seaweed", STORAGE)
            stack.callback(seaweed.stop)
            settings = gateway_settings(new_database(embedded_server.dsn, "machines"), seaweed, desk, "team", BALANCER)
        gateways = [
            gateway(desk, f"gateway{n}", settings, (5000, 5001), address) for n, address in enumerate(GATEWAYS, 1)
        ]
        made = Fleet(gateways, haproxy(desk, gateways, (443, 8443), BALANCER))
        for number, each in enumerate(gateways, 1):
            with machines.at(f"gateway{number}"):
                each.start()
            stack.callback(each.daemon.kill)
        with machines.at("balancer"):
            made.balancer.start()
        stack.callback(made.balancer.daemon.kill)
        eventually(made.balancer.are_up, "both gateways to be up")
        yield made


def status(machines: Network, machine: str, address: str, port: int, **headers: str) -> int:
    """Return what the registry answers to a machine that asks at an address."""
    lines = {**BASIC, **{name.replace("_", "-"): value for name, value in headers.items()}}
    tls = trusting_all() if port in {443, 8443} else None
    with machines.at(machine):
        return ask(port, "GET", "/v2/", host=HOST, address=address, tls=tls, headers=lines).status


@pytest.mark.usefixtures("fleet")
def test_machines_are_told_apart(machines: Network) -> None:
    """By where a connection comes from, as the load balancer tells it, and never by what anybody else says."""
    change = json.dumps({"public_networks": [f"{CLIENT}/32"], "private_networks": [f"{CLIENT}/32"]}).encode()
    with machines.at("client"):
        headers = {**BASIC, "Content-Type": "application/json"}
        path, tls = "/api/registries/team", trusting_all()
        patched = ask(443, "PATCH", path, change, host=CONSOLE, address=BALANCER, tls=tls, headers=headers)
        assert patched.status == 200
        private: str = json.loads(patched.body)["private_host"]

    def is_shut() -> bool:
        return all(status(machines, "storage", BALANCER, 443) == 404 for _ in range(4))

    eventually(is_shut, "the change to hold")
    for forged in ({}, {"X_Forwarded_For": STORAGE}, {"Forwarded": f"for={STORAGE}"}):
        assert status(machines, "client", BALANCER, 443, **forged) == 200
        assert status(machines, "client", GATEWAYS[0], 5000, **forged) == 200
    for forged in ({}, {"X_Forwarded_For": CLIENT}, {"Forwarded": f"for={CLIENT}"}):
        assert status(machines, "storage", BALANCER, 443, **forged) == 404
        assert status(machines, "storage", GATEWAYS[0], 5000, **forged) == 404

    for machine, wanted in (("client", 200), ("storage", 404)):
        with machines.at(machine):
            tls = trusting_all()
            answer = ask(8443, "GET", "/v2/", host=private, address=BALANCER, tls=tls, headers=BASIC)
            assert answer.status == wanted
    # Whoever is no load balancer gets nothing for a PROXY header, and no TLS behind it.
    with machines.at("storage"), socket.create_connection((GATEWAYS[0], 5001), timeout=30) as forger:
        forger.sendall(f"PROXY TCP4 {CLIENT} {BALANCER} 40000 443\r\n".encode())
        assert not received(forger).startswith(b"HTTP")


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def test_an_image_goes_through_all_machines(
    machines: Network, fleet: Fleet, containers: Containers, desk: Path
) -> None:
    """From the client to the storage and back, also when one gateway is gone."""
    image = image_of([layer_of({"random": noise("machines", 9 << 20)}, level=0)])
    there, back, target = desk / "there", desk / "back", f"docker://{BALANCER}:443/machines/image:v1"
    write_oci_layout(image, "v1", there)
    key = f"{KEY_ID}:{SECRET}"
    with machines.at("client"):
        push = ("copy", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds", key)
        containers.skopeo(*push, f"oci:{there}:v1", target)

    with machines.at("gateway1"):
        fleet.gateways[0].stop()

    with machines.at("client"):
        pull = ("copy", "--preserve-digests", "--src-tls-verify=false", "--src-creds", key)
        containers.skopeo(*pull, target, f"oci:{back}:v1")
    blobs = {path.name: path.read_bytes() for path in (back / "blobs" / "sha256").iterdir()}
    assert blobs == {sha256(blob).removeprefix("sha256:"): blob for blob in image.blobs()}
