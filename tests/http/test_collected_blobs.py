"""Blobs that no manifest refers to: a 200 or a 201 is a promise, and what is gone stays gone."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.config import Address as ListenAddress
from gateway.config import Settings
from gateway.db.collection import Collection
from gateway.db.pool import Database
from gateway.model.collection import Keeping, Stage
from support.postgres import new_database
from support.serving import in_the_background

from .content import IMAGE, LAYER, OCI_MANIFEST
from .rows import DIGESTS, Step, blob, play, pushed, story
from .wire import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.databases import Server

KEEPING = Keeping(grace=timedelta(hours=24), restore=timedelta(days=7))
MOUNT = "/v2/{repo}/else/blobs/uploads/?mount={layer}&from={repo}"
HEAD = Step("HEAD", "/v2/{repo}/blobs/{layer}", 200)
GONE = Step("HEAD", "/v2/{repo}/blobs/{layer}", 404)


class Aging:
    """A registry in which days can pass."""

    def __init__(self, address: Address, url: str) -> None:
        self._address = address
        self._url = url

    async def play(self, repo: str, *steps: Step) -> None:
        """Send requests in turn and check each answer."""
        await play(self._address, {**DIGESTS, "repo": repo}, story("", *steps))

    async def pass_days(self, days: float) -> None:
        """Let everything that no manifest refers to be so for some days more."""
        async with self._database() as database:
            await database.execute(
                "UPDATE repository_blobs SET unreferenced_since = unreferenced_since - make_interval(days => $1)", days
            )

    async def collect(self) -> None:
        """Collect everything that is due."""
        async with self._database() as database:
            row = await database.fetchrow("SELECT storage FROM registries")
            assert row is not None
            index = Collection(database, row["storage"])
            registries = await index.list_registries()
            for stage in Stage:
                await index.collect(stage, registries, KEEPING, datetime(1, 1, 1, tzinfo=UTC), 1000)

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[Database]:
        async with Database.connected(self._url, connections=2) as database:
            yield database


@pytest.fixture(scope="module")
def aging(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aging]:
    """A registry of this module's own."""
    url = new_database(embedded_server.dsn, "aging")
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0), data_dir=tmp_path_factory.mktemp("aging"), database_url=url, open=True
    )
    with in_the_background(settings) as server:
        yield Aging(Address(server.host, server.port), url)


async def test_a_head_keeps_a_blob(aging: Aging) -> None:
    """Whoever was told of a blob can refer to it for most of the grace time."""
    await aging.play("kept/head", *pushed())
    await aging.pass_days(2)
    await aging.play("kept/head", HEAD)

    await aging.collect()
    await aging.pass_days(0.8)
    await aging.collect()

    await aging.play("kept/head", HEAD, Step("HEAD", "/v2/{repo}/blobs/{config}", 404))


async def test_a_get_keeps_nothing(aging: Aging) -> None:
    """A client that reads a blob has not been promised anything."""
    await aging.play("read/only", *blob(LAYER))
    await aging.pass_days(2)
    await aging.play("read/only", Step("GET", "/v2/{repo}/blobs/{layer}", 200, body_is=LAYER))

    await aging.collect()
    await aging.play("read/only", GONE)


async def test_a_mount_keeps_the_blob_that_it_made(aging: Aging) -> None:
    """The one that it was made from has its own time."""
    await aging.play("kept/mount", *blob(LAYER))
    await aging.pass_days(2)
    await aging.play("kept/mount", Step("POST", MOUNT, 201))

    await aging.collect()

    await aging.play("kept/mount", GONE, Step("GET", "/v2/{repo}/else/blobs/{layer}", 200, body_is=LAYER))


async def test_what_was_collected_is_gone_for_everybody(aging: Aging) -> None:
    """No HEAD, GET, mount or manifest finds it; an upload of the digest makes it anew."""
    await aging.play("gone/for", *pushed())
    await aging.pass_days(2)
    await aging.collect()

    await aging.play(
        "gone/for",
        GONE,
        Step("GET", "/v2/{repo}/blobs/{layer}", 404, code="BLOB_UNKNOWN"),
        Step("POST", MOUNT, 202),
        Step(
            *("PUT", "/v2/{repo}/manifests/v1", 400),
            headers={"Content-Type": OCI_MANIFEST},
            body=IMAGE,
            code="MANIFEST_BLOB_UNKNOWN",
        ),
        *pushed("v1"),
        Step("GET", "/v2/{repo}/blobs/{layer}", 200, body_is=LAYER),
    )
    await aging.pass_days(2)
    await aging.collect()
    await aging.play("gone/for", Step("GET", "/v2/{repo}/blobs/{layer}", 200, body_is=LAYER))
