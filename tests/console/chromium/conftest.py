"""One browser and one server for all tests in this folder; both live in an event loop that lasts as long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from console.chromium import visiting
from console.demo import Demo, demo_server, fill
from support.postgres import new_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser

    from support.databases import Server


@pytest.fixture(scope="session")
def demo(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A server that is full of things, which tests leave as they are."""
    with demo_server(tmp_path_factory.mktemp("demo"), new_database(embedded_server.dsn, "demo")) as server:
        fill(server)
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A real browser."""
    async with visiting.chromium() as started:
        yield started
