"""What load balancers ask: on every host, without credentials, and with the real reasons not to be ready."""

from __future__ import annotations

from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.config import Address as ListenAddress
from gateway.config import Settings
from gateway.services import readiness
from support.postgres import new_database, running_postgres
from support.serving import in_the_background

from .wire import Address, ask

if TYPE_CHECKING:
    from http.client import HTTPMessage
    from pathlib import Path

    from .accounts import Guarded

READY = {"database": "ready", "schema": "ready", "storage": "ready", "service": "ready"}


def get(address: Address, path: str, host: str = "localhost") -> tuple[int, dict[str, Any], HTTPMessage]:
    """Ask as a load balancer does, for which 503 is an answer like others."""
    with closing(HTTPConnection(address.host, address.port, timeout=30)) as connection:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, orjson.loads(answer.read()), answer.headers


@pytest.mark.parametrize("host", ["localhost", "team.registry.example", "nobody.example", "not a host!", ""])
def test_every_host_answers_without_credentials(guarded: Guarded, host: str) -> None:
    """Also those that belong to nobody: a load balancer asks by what address it has."""
    alive = get(guarded.address, "/healthz", host)
    ready = get(guarded.address, "/readyz?from=balancer", host)

    assert alive[:2] == (200, {"status": "alive"})
    assert ready[:2] == (200, {"status": "ready", "parts": READY})
    assert ready[2]["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_methods(registry: Address, path: str) -> None:
    """HEAD is answered as GET is, without a body; nothing else is."""
    head = await ask(registry, "HEAD", path)
    assert (head.status, head.body) == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        refused = await ask(registry, method, path, body=b"x")
        assert (refused.status, refused.get("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/healthz/", "/readyzz", "/v2/healthz", "/v2/readyz/tags/list"])
async def test_other_addresses_are_the_registrys(registry: Address, path: str) -> None:
    """An image may be called like that."""
    answer = await ask(registry, "GET", path)

    assert answer.status == 404
    assert answer.json()["errors"]


def test_what_is_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Database or storage, while the process itself lives."""
    data_dir = tmp_path / "machine" / "data"
    monkeypatch.setattr(readiness, "_SECONDS_OF_TRUTH", 0.0)
    with ExitStack() as stack:
        database = stack.enter_context(ExitStack())
        url = new_database(database.enter_context(running_postgres()), "gone")
        settings = Settings(listen=ListenAddress("127.0.0.1", 0), data_dir=data_dir, database_url=url, open=True)
        server = stack.enter_context(in_the_background(settings))

        address = Address(server.host, server.port)
        assert get(address, "/readyz")[1]["parts"] == READY

        away = data_dir.rename(tmp_path / "away")  # as when a disk is unmounted
        status, told, _ = get(address, "/readyz")
        assert (status, told["status"]) == (503, "not ready")
        assert told["parts"] == {**READY, "storage": "not ready"}
        away.rename(data_dir)
        assert get(address, "/readyz")[0] == 200

        database.close()
        status, told, _ = get(address, "/readyz")
        assert status == 503
        assert told["parts"] == {**READY, "database": "not ready", "schema": "not ready"}
        assert get(address, "/healthz")[0] == 200
