"""A registry with accounts, and browsers that are signed in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.config import Address, Settings
from gateway.model.networks import Networks
from support.accounts import EVERYWHERE, Key, add_key
from support.postgres import new_database
from support.serving import in_the_background

from .browser import Browser
from .pushing import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Server


@dataclass(frozen=True)
class Office:
    """A server, and who can sign in."""

    host: str
    port: int
    database_url: str
    keys: dict[str, Key]

    def browser(self, who: str | None = None, language: str = "en") -> Browser:
        """Return a browser in which somebody has signed in."""
        browser = Browser(self.host, self.port, language)
        if who is not None:
            assert browser.sign_in(self.keys[who]).status == 303
        return browser


@pytest.fixture(scope="session")
def office(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One server for the whole folder."""
    url = new_database(embedded_server.dsn, "console")
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        data_dir=tmp_path_factory.mktemp("console"),
        database_url=url,
        trusted_proxies=Networks.parse(["127.0.0.0/8"]),
    )
    with pytest.MonkeyPatch.context() as patch, in_the_background(settings) as server:
        # So many wrong secrets come from here that waiting would be all that the tests do.
        patch.setattr("gateway.services.defence._LONGEST_DELAY", 0.0)
        yield Office(server.host, server.port, url, asyncio.run(_people(url)))


async def _people(url: str) -> dict[str, Key]:
    return {
        "manager": await add_key(url, "manager", "manager", registry_id=EVERYWHERE),
        "local-manager": await add_key(url, "local-manager", "manager"),
        "viewer": await add_key(url, "viewer", "viewer"),
        "nobody": await add_key(url, "nobody", None),
        "robot": await add_key(url, "robot", "manager", actions=["pull"]),
    }


@pytest.fixture
def manager(office: Office) -> Browser:
    """A browser of somebody who manages all registries."""
    return office.browser("manager")


@pytest.fixture
def client(office: Office) -> Client:
    """A client that pushes and pulls."""
    return Client(office.host, office.port, office.keys["manager"])
