"""Several registries in several workers: what is set holds in all of them, and none mixes behind a real proxy."""

from __future__ import annotations

import asyncio
import http.client
import subprocess
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from gateway.config import Settings
from gateway.model.networks import Networks
from gateway.ports.directory import RegistryChange
from support.ports import free_port
from support.postgres import new_database
from support.registries import LOCAL, managing

from .registry import LONGEST, eventually, reply, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.databases import Server

    from .registry import Registry

PUBLIC, PRIVATE = "registries.test", "inside.test"
NAMES = ("alpha", "beta")
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def settings(embedded_server: Server, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        database_url=new_database(embedded_server.dsn, tmp_path.name),
        public_domain=PUBLIC,
        private_domain=PRIVATE,
        trusted_proxies=Networks.parse(["127.0.0.0/8"]),
    )


@contextmanager
def running(settings: Settings) -> Iterator[Registry]:
    """Start two workers with these settings, and make the registries."""
    environment = {
        "SLIPWAY_DATABASE_URL": settings.database_url or "",
        "SLIPWAY_PUBLIC_DOMAIN": PUBLIC,
        "SLIPWAY_PRIVATE_DOMAIN": PRIVATE,
        "SLIPWAY_TRUSTED_PROXIES": ",".join(settings.trusted_proxies.texts()),
    }
    with serving(settings.data_dir, "--workers", "2", **environment) as registry:
        yield registry


async def make(settings: Settings) -> dict[str, str]:
    """Make the registries; return their private labels."""
    async with managing(settings) as registries:
        return {name: (await registries.create(LOCAL, name, f"{name}-bucket")).private_label for name in NAMES}


async def switch(settings: Settings, name: str, *, public_endpoint: bool) -> None:
    async with managing(settings) as registries:
        await registries.update(LOCAL, name, RegistryChange(public_endpoint=public_endpoint), None)


def test_a_switch_holds_on_every_worker_within_a_second(settings: Settings) -> None:
    """The public host answers as if there were no such registry, and the private one goes on working."""
    with running(settings) as registry:
        labels = asyncio.run(make(settings))
        first = registry.connect()
        second = registry.connect_to(lambda pid: pid != registry.worker_of(first))
        with closing(first), closing(second):

            def statuses(host: str) -> list[int]:
                return [reply(registry, each, "GET", "/v2/", Host=host).status for each in (first, second)]

            def hold(wanted: list[int]) -> bool:
                return statuses(f"alpha.{PUBLIC}") == wanted

            for is_open, status in ((False, 404), (True, 200), (False, 404)):
                before = statuses(f"alpha.{PUBLIC}")
                assert set(before) == {200 if status == 404 else 404}
                asyncio.run(switch(settings, "alpha", public_endpoint=is_open))
                wanted = [status, status]
                eventually(partial(hold, wanted), "both workers to know", seconds=10)
                assert statuses(f"{labels['alpha']}.{PRIVATE}") == [200, 200]
                assert statuses(f"beta.{PUBLIC}") == [200, 200]


CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_request_buffering off;
            proxy_set_header Host upstream.invalid;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[int]:
    """Run nginx in front of a port, and give its own."""
    folder.mkdir()
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, upstream=upstream))
    process = subprocess.Popen(["nginx", "-e", f"{folder}/error.log", "-c", str(configuration), "-p", str(folder)])
    try:
        eventually(lambda: process.poll() is not None or _listens(port), "nginx to listen")
        assert process.poll() is None, (folder / "error.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(LONGEST)


def _listens(port: int) -> bool:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)) as connection:
            connection.connect()
    except OSError:
        return False
    return True


def ask(port: int, method: str, path: str, host: str, body: bytes = b"", **headers: str) -> tuple[int, str, bytes]:
    """Send a request and return status, Location and body."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)) as connection:
        connection.request(method, path, body, {"Host": host, **headers})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Location", ""), answer.read()


def test_two_registries_behind_a_proxy_never_mix(settings: Settings, tmp_path: Path) -> None:
    """The same repositories, tags and upload addresses, each with its own content, through every worker."""
    with running(settings) as registry, nginx(tmp_path / "nginx", registry.port) as port:
        labels = asyncio.run(make(settings))
        manifests = {}
        for name in NAMES:
            host = f"{name}.{PUBLIC}"
            layer = f"the layer of {name}".encode() * 1000
            status, location, _ = ask(port, "POST", "/v2/team/app/blobs/uploads/", host)
            assert status == 202
            other = f"{'beta' if name == 'alpha' else 'alpha'}.{PUBLIC}"
            assert ask(port, "PATCH", location, other, b"foreign")[0] == 404
            assert ask(port, "PUT", f"{location}?digest={digest(layer)}", host, layer)[0] == 201
            manifests[name] = (
                f'{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],"annotations":{{"of":"{name}"}}}}'
            )
            pushed = ask(
                port, "PUT", "/v2/team/app/manifests/latest", host, manifests[name].encode(), **{"Content-Type": INDEX}
            )
            assert pushed[0] == 201
        for _ in range(20):
            for name in NAMES:
                for host in (f"{name}.{PUBLIC}", f"{labels[name]}.{PRIVATE}"):
                    assert ask(port, "GET", "/v2/team/app/manifests/latest", host)[2] == manifests[name].encode()
                    for owner in NAMES:
                        layer = f"the layer of {owner}".encode() * 1000
                        status, _, body = ask(port, "GET", f"/v2/team/app/blobs/{digest(layer)}", host)
                        assert (status, body == layer) == ((200, True) if owner == name else (404, False))
        assert ask(port, "GET", "/v2/", f"gamma.{PUBLIC}")[0] == 404


def digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"
