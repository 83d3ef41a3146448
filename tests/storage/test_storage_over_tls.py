"""A storage behind TLS: bytes go through memory, a bounded piece at a time, and nothing else changes."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import TYPE_CHECKING

import aiohttp
import pytest

from gateway.app.service import running
from gateway.config import Address, Settings
from gateway.transport.tally import Way, counted
from support.faults import Fault, FaultyS3, faulty_s3
from support.postgres import create_database
from support.tls import Tls, make_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.databases import Server
    from support.seaweed import SeaweedFS

CONTENT = random.Random(5).randbytes(20_000_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
BUCKET = "behind-tls"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def storage(seaweed: SeaweedFS, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyS3]:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tls.bundle))
    async with faulty_s3(seaweed.endpoint_url, equal_parts=True, tls=tls.context) as proxy:
        yield proxy


@pytest.fixture
async def client(
    seaweed: SeaweedFS, storage: FaultyS3, embedded_server: Server, tmp_path: Path
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a registry that has pushed the content to it, in chunks."""
    name = f"tls_{random.randrange(10**9)}"
    bucket = f"{BUCKET}-{name.removeprefix('tls_')}"
    seaweed.create_bucket(bucket)
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        data_dir=tmp_path,
        database_url=await create_database(embedded_server.dsn, name),
        open=True,
        **seaweed.settings(bucket) | {"s3_endpoint_url": storage.url},
    )
    async with running(settings) as server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        await push(session)
        yield session


async def push(session: aiohttp.ClientSession) -> None:
    async with session.post("/v2/a/blobs/uploads/") as started:
        location = started.headers["Location"]
    async with session.patch(location, data=chunks()) as patched:
        assert patched.status == 202
        location = patched.headers["Location"]
    async with session.put(location, params={"digest": DIGEST}) as closed:
        assert closed.status == 201


async def chunks() -> AsyncIterator[bytes]:
    for start in range(0, len(CONTENT), 100_000):
        yield CONTENT[start : start + 100_000]


BLOB = f"/v2/a/blobs/{DIGEST}"


async def test_pulls_are_copied_whole_and_by_range(client: aiohttp.ClientSession) -> None:
    """Not spliced: what comes out of the socket is no content."""
    before = counted(Way.SENT_BY_COPY), counted(Way.SENT_BY_SPLICE)
    async with client.get(BLOB) as whole:
        assert await whole.read() == CONTENT
    async with client.get(BLOB, headers={"Range": "bytes=9000000-"}) as end:
        assert (end.status, await end.read()) == (206, CONTENT[9_000_000:])
    async with client.get(BLOB, headers={"Range": "bytes=0-9,8000000-8000009"}) as several:
        body = await several.read()
        assert several.status == 206
        assert CONTENT[:10] in body
        assert CONTENT[8_000_000:8_000_010] in body

    assert (counted(Way.SENT_BY_COPY), counted(Way.SENT_BY_SPLICE)) == (before[0] + 4, before[1])


async def test_a_client_that_leaves_ends_the_read_from_the_storage(
    client: aiohttp.ClientSession, storage: FaultyS3
) -> None:
    """At once, also while the storage is silent."""
    storage.fail("GetObject", Fault.STALL)
    answer = await client.get(BLOB)
    await answer.content.readexactly(1_000_000)
    answer.close()

    await asyncio.wait_for(storage.closed.wait(), 10)


async def test_a_slow_client_gets_everything(client: aiohttp.ClientSession) -> None:
    """Memory stays bounded by flow control: the answer waits for the client."""
    received = hashlib.sha256()
    async with client.get(BLOB) as answer:
        while piece := await answer.content.read(50_000):
            received.update(piece)
            await asyncio.sleep(0)

    assert f"sha256:{received.hexdigest()}" == DIGEST


async def test_a_storage_that_breaks_off_breaks_the_transfer(client: aiohttp.ClientSession, storage: FaultyS3) -> None:
    """Never ends it: no client takes half a blob for a whole one."""
    storage.fail("GetObject", Fault.CUT)
    async with client.get(BLOB) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_parts_are_sent_again(client: aiohttp.ClientSession, storage: FaultyS3) -> None:
    """Bodies that survive a retry, over TLS as well."""
    for fault in (Fault.LOSE_ANSWER, Fault.SLOW_DOWN, Fault.INTERNAL_ERROR):
        storage.fail("UploadPart", fault)
    await push(client)
    assert storage.reached.is_set()
