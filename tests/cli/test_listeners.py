"""A listener for public and one for private endpoints, each with its own proxies, PROXY protocol and certificate."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from cli.hammer import Hammer
from cli.registry import LONGEST, run, serving
from gateway.config import Settings
from gateway.model.networks import Networks
from gateway.ports.directory import RegistryChange
from support.ports import free_port
from support.postgres import new_database
from support.registries import LOCAL, managing
from support.tls import make_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli.registry import Registry
    from support.databases import Server

PUBLIC, PRIVATE, CONSOLE = "registries.test", "inside.test", "console.test"
INSIDE, OUTSIDE = "10.1.2.3", "192.0.2.7"


class Site:
    """A server with a listener of each kind, and the registries alpha and narrow."""

    def __init__(self, embedded: Server, folder: Path) -> None:
        self.folder = folder
        self.private_port = free_port()
        self.settings = Settings(
            data_dir=folder / "data",
            database_url=new_database(embedded.dsn, f"listeners_{folder.name}"),
            public_domain=PUBLIC,
            private_domain=PRIVATE,
        )

    @contextmanager
    def running(self, **environment: str) -> Iterator[Registry]:
        """Start two workers."""
        shape = {
            "SLIPWAY_DATABASE_URL": self.settings.database_url or "",
            "SLIPWAY_PUBLIC_DOMAIN": PUBLIC,
            "SLIPWAY_PRIVATE_DOMAIN": PRIVATE,
            "SLIPWAY_CONSOLE_HOST": CONSOLE,
            "SLIPWAY_PRIVATE_LISTEN": f"127.0.0.1:{self.private_port}",
        }
        with serving(self.settings.data_dir, "--workers", "2", **shape, **environment) as registry:
            self.public_port = registry.port
            self.label = asyncio.run(self._furnished())
            yield registry

    async def _furnished(self) -> str:
        """Make the registries; narrow's public endpoint is for one address only."""
        async with managing(self.settings) as registries:
            found = {each.name: each for each in await registries.list()}
            if "alpha" not in found:
                found["alpha"] = await registries.create(LOCAL, "alpha", "alpha-bucket")
                await registries.create(LOCAL, "narrow", "narrow-bucket")
                outside = RegistryChange(public_networks=Networks.parse([f"{OUTSIDE}/32"]))
                await registries.update(LOCAL, "narrow", outside, None)
            return f"{found['alpha'].private_label}.{PRIVATE}"

    def status(self, port: int, host: str, path: str = "/v2/", **headers: str) -> int:
        """Return what a host answers at a port."""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)) as connection:
            connection.request(
                "GET", path, headers={"Host": host, **{k.replace("_", "-"): headers[k] for k in headers}}
            )
            return connection.getresponse().status


@pytest.fixture
def site(embedded_server: Server, tmp_path: Path) -> Site:
    return Site(embedded_server, tmp_path)


def test_each_listener_has_its_hosts(site: Site) -> None:
    """What is private is at the private one and only there; everything else is at the other one and only there."""
    with site.running():
        for host, path in (
            (f"alpha.{PUBLIC}", "/v2/"),
            (CONSOLE, "/console/"),
        ):
            assert site.status(site.public_port, host, path) == 200
            assert site.status(site.private_port, host, path) == 404
        assert site.status(site.private_port, site.label) == 200
        assert site.status(site.public_port, site.label) == 404
        assert site.status(site.private_port, "localhost") == 404
        for port in (site.public_port, site.private_port):
            assert site.status(port, "nobody.example", "/readyz") == 200


def test_each_listener_has_its_trusted_proxies(site: Site) -> None:
    """What a header says is believed where its sender is trusted, and is nothing but noise at the other listener."""
    with site.running(SLIPWAY_PRIVATE_TRUSTED_PROXIES="127.0.0.0/8"):
        for headers in ({"X_Forwarded_For": OUTSIDE}, {"Forwarded": f"for={OUTSIDE}"}):
            assert site.status(site.private_port, site.label, **headers) == 404
            # Forged: neither does it shut the sender out, nor does it let him in.
            assert site.status(site.public_port, f"alpha.{PUBLIC}", **headers) == 200
            assert site.status(site.public_port, f"narrow.{PUBLIC}", **headers) == 404
        assert site.status(site.private_port, site.label, X_Forwarded_For=INSIDE) == 200
        assert site.status(site.public_port, CONSOLE, X_Forwarded_Host=f"alpha.{PUBLIC}") == 404
        # A host of the other kind is not to be reached by naming it to a proxy either.
        assert site.status(site.private_port, site.label, X_Forwarded_Host=f"alpha.{PUBLIC}") == 404

    with site.running(SLIPWAY_TRUSTED_PROXIES="127.0.0.0/8"):
        assert site.status(site.public_port, f"narrow.{PUBLIC}", X_Forwarded_For=OUTSIDE) == 200
        assert site.status(site.private_port, site.label, X_Forwarded_For=OUTSIDE) == 200


def test_each_listener_has_its_proxy_protocol(site: Site) -> None:
    """Networks hold for the address that the header names; the other listener takes it for nonsense."""

    def status(port: int, host: str, client: str | None) -> bytes:
        header = f"PROXY TCP4 {client} 192.0.2.1 40000 443\r\n" if client else ""
        request = f"{header}GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as connection:
            connection.sendall(request.encode())
            try:
                return connection.recv(12)
            except ConnectionResetError:
                return b""

    with site.running(SLIPWAY_PRIVATE_PROXY_PROTOCOL="127.0.0.0/8"):
        assert status(site.private_port, site.label, INSIDE) == b"HTTP/1.1 200"
        assert status(site.private_port, site.label, OUTSIDE) == b"HTTP/1.1 404"
        assert status(site.private_port, site.label, None) == b""
        assert status(site.public_port, f"alpha.{PUBLIC}", None) == b"HTTP/1.1 200"
        assert status(site.public_port, f"alpha.{PUBLIC}", OUTSIDE) in {b"HTTP/1.1 400", b"HTTP/1.0 400"}


def test_sighup_loses_nothing_at_any_listener(site: Site) -> None:
    """Workers are replaced while requests come in by both, one of which speaks TLS and gets another certificate."""
    tls = make_tls(site.folder)
    trusting = ssl.create_default_context(cafile=tls.bundle)

    def connect_by_tls() -> http.client.HTTPConnection:
        return http.client.HTTPSConnection("localhost", site.private_port, timeout=LONGEST, context=trusting)

    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", site.public_port, timeout=LONGEST)

    files = {"CERTIFICATE": "certificate.pem", "KEY": "key.pem"}
    environment = {f"SLIPWAY_PRIVATE_TLS_{name}": str(site.folder / file) for name, file in files.items()}
    with site.running(**environment) as registry:
        inside, outside = Hammer(connect_by_tls, site.label), Hammer(connect, f"alpha.{PUBLIC}")
        with inside.at_work(), outside.at_work():
            for _ in range(2):
                registry.roll()
        assert registry.stop() == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"SLIPWAY_TLS_CERTIFICATE": "/nowhere.pem"}, "SLIPWAY_TLS_CERTIFICATE and SLIPWAY_TLS_KEY belong together"),
        (
            {"SLIPWAY_TLS_CERTIFICATE": "/nowhere.pem", "SLIPWAY_TLS_KEY": "/nowhere.key"},
            "/nowhere.pem cannot be read: No such file",
        ),
        ({"SLIPWAY_PRIVATE_LISTEN": "127.0.0.1:0"}, "set SLIPWAY_PRIVATE_DOMAIN"),
        ({"SLIPWAY_PRIVATE_LISTEN": "0.0.0.0:0", "SLIPWAY_PRIVATE_DOMAIN": PRIVATE}, "it is refused on 0.0.0.0:0"),
    ],
)
def test_what_cannot_be_is_one_line(
    embedded_server: Server, tmp_path: Path, settings: dict[str, str], sentence: str
) -> None:
    """And exit code 2."""
    url = new_database(embedded_server.dsn, f"wrong_{tmp_path.name}")
    data = ("--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"))
    ended = run("serve", "--open", *data, SLIPWAY_DATABASE_URL=url, **settings)

    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_greeting_says_https(embedded_server: Server, tmp_path: Path) -> None:
    """Where the listener speaks TLS."""
    make_tls(tmp_path)
    with serving(
        tmp_path / "data",
        "--workers",
        "1",
        scheme="https",
        SLIPWAY_DATABASE_URL=new_database(embedded_server.dsn, f"greeting_{tmp_path.name}"),
        SLIPWAY_TLS_CERTIFICATE=str(tmp_path / "certificate.pem"),
        SLIPWAY_TLS_KEY=str(tmp_path / "key.pem"),
    ) as registry:
        trusting = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
        with closing(http.client.HTTPSConnection("localhost", registry.port, context=trusting)) as connection:
            connection.request("GET", "/v2/")
            assert connection.getresponse().status == 200
