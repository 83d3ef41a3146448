"""Both storages, each over the real thing; every test has sessions of its own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from contract.uploads import BUCKET, Session
from contract.watched import PART, WatchedFiles, WatchedS3, settings
from support.faults import faulty_s3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.faults import FaultyS3
    from support.seaweed import SeaweedFS


@pytest.fixture(scope="session")
def seaweed(seaweed: SeaweedFS) -> SeaweedFS:
    """The suite's S3 server, with a bucket for this folder."""
    seaweed.create_bucket(BUCKET)
    return seaweed


@pytest.fixture(autouse=True)
def repeated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many calls fail here on purpose that waiting would be most of what the tests do."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


@pytest.fixture
async def s3(seaweed: SeaweedFS) -> AsyncIterator[WatchedS3]:
    async with WatchedS3(settings(seaweed, seaweed.endpoint_url)) as storage:
        yield storage
        storage.check_idle()


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[WatchedFiles]:
    storage = WatchedFiles(tmp_path, lock_seconds=0.2)
    await storage.check_bucket(BUCKET)
    yield storage
    storage.check_idle()


@pytest.fixture(params=["filesystem", "s3"])
def storage(request: pytest.FixtureRequest) -> WatchedFiles | WatchedS3:
    found = request.getfixturevalue("files" if request.param == "filesystem" else "s3")
    assert isinstance(found, WatchedFiles | WatchedS3)
    return found


@pytest.fixture
async def proxy(seaweed: SeaweedFS) -> AsyncIterator[FaultyS3]:
    async with faulty_s3(seaweed.endpoint_url, equal_parts=True) as running:
        yield running


@pytest.fixture
async def shaky(seaweed: SeaweedFS, proxy: FaultyS3) -> AsyncIterator[WatchedS3]:
    """S3 behind the proxy, which asks for equal parts and fails as the test says."""
    async with WatchedS3(settings(seaweed, proxy.url)) as storage:
        yield storage
        storage.check_idle()


@pytest.fixture(scope="session")
def content() -> bytes:
    """Bytes for several parts, no two parts alike."""
    return random.Random(1).randbytes(3 * PART + 1000)


@pytest.fixture
def new_session() -> Callable[[WatchedFiles | WatchedS3], Session]:
    return lambda storage: Session(storage.ledger, random.Random())
