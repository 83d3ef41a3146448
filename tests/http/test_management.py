"""The management API where the registry API is: which requests reach it, under ``--open``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .wire import ask, connect

if TYPE_CHECKING:
    from .wire import Address, Answer

JSON = ("Content-Type", "application/json")


async def send(
    registry: Address, method: str, target: str, *headers: tuple[str, str], body: bytes = b"", host: str | None = None
) -> Answer:
    """Send a request on a connection of its own, to another host's name if one is given."""
    named = f"{registry.host}:{registry.port}" if host is None else host
    async with connect(registry) as connection:
        lines = [("Host", named), *headers, ("Content-Length", str(len(body))), ("Connection", "close")]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        await connection.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return await connection.answer(method)


async def test_open_lets_everybody_manage(registry: Address) -> None:
    """No credentials are asked for; the log names the account ``open`` and the client."""
    made = await send(registry, "POST", "/api/accounts", JSON, body=b'{"name":"made-openly"}')
    log = await send(registry, "GET", "/api/audit?action=account.create")

    assert made.status == 201
    assert made["Location"] == "/api/accounts/made-openly"
    line = next(each for each in log.json()["items"] if each["object"] == "made-openly")
    assert (line["account"], line["address"]) == ("open", "127.0.0.1")


@pytest.mark.parametrize(
    "header", [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.example"), ("Origin", "null")]
)
async def test_pages_of_other_sites_are_refused(registry: Address, header: tuple[str, str]) -> None:
    """Nobody's browser manages a registry for a page that happens to be open."""
    refused = await send(registry, "POST", "/api/accounts", JSON, header, body=b'{"name":"foreign"}')

    assert refused.status == 403
    assert refused["Content-Type"] == "application/problem+json"
    assert (await send(registry, "GET", "/api/accounts/foreign")).status == 404


async def test_the_own_origin_is_not_foreign(registry: Address) -> None:
    """Pages of this very server may use it."""
    own = f"http://{registry.host}:{registry.port}"

    assert (
        await send(registry, "GET", "/api/accounts", ("Origin", own), ("Sec-Fetch-Site", "same-origin"))
    ).status == 200


async def test_foreign_names_reach_nothing(registry: Address) -> None:
    """A page cannot give its own name this machine's address."""
    assert (await send(registry, "GET", "/api/accounts", host="evil.example")).status == 404


async def test_absolute_targets_are_understood(registry: Address) -> None:
    """Proxies may send the whole address."""
    own = f"http://{registry.host}:{registry.port}"

    assert (await send(registry, "GET", f"{own}/api/openapi.json")).json()["openapi"] == "3.1.0"


async def test_the_registry_api_is_elsewhere(registry: Address) -> None:
    """Only what begins with /api/ is management."""
    assert (await send(registry, "GET", "/api/nothing"))["Content-Type"] == "application/problem+json"
    assert (await ask(registry, "GET", "/api")).codes() == ["UNSUPPORTED"]
    assert (await ask(registry, "GET", "/apiv2/")).codes() == ["UNSUPPORTED"]
