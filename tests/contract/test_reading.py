"""What both storages promise about reading, looking and addresses."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from contract.uploads import BUCKET, Session, finish, read
from contract.watched import WatchedFiles, WatchedS3
from gateway.errors import ConfigurationError, ObjectDamaged, ObjectMissing
from gateway.model.ranges import ByteRange
from gateway.ports.storage import ByteStream, Location

if TYPE_CHECKING:
    from collections.abc import Callable

Storage = WatchedFiles | WatchedS3

SIZE = 1_000_000
DATA = random.Random(2).randbytes(SIZE)


@pytest.fixture
async def blob(storage: Storage, new_session: Callable[[Storage], Session]) -> Location:
    return await finish(storage, new_session(storage), DATA)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, SIZE), (0, 1), (SIZE - 1, SIZE), (17, 17 + 70_000), (0, 0), (SIZE, SIZE), (5, 5)],
)
async def test_ranges(storage: Storage, blob: Location, start: int, stop: int) -> None:
    assert await read(storage, blob, start, stop) == DATA[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(0, SIZE + 1), (SIZE, SIZE + 1), (SIZE + 5, SIZE + 5)])
async def test_more_bytes_than_there_are(storage: Storage, blob: Location, start: int, stop: int) -> None:
    with pytest.raises(ObjectDamaged):
        await read(storage, blob, start, stop)


@pytest.mark.parametrize("stop", [0, 1])
async def test_no_such_object(storage: Storage, stop: int) -> None:
    with pytest.raises(ObjectMissing):
        await read(storage, Location(BUCKET, "slipway/test/objects/none"), 0, stop)


async def test_an_empty_object(storage: Storage, new_session: Callable[[Storage], Session]) -> None:
    location = await finish(storage, new_session(storage))
    assert await storage.stat(location) == 0
    assert await read(storage, location, 0, 0) == b""


async def test_stat(storage: Storage, blob: Location) -> None:
    assert await storage.stat(blob) == SIZE
    assert await storage.stat(Location(BUCKET, "slipway/test/objects/none")) is None
    assert await storage.stat(Location(BUCKET, "slipway/test/objects")) is None


async def test_an_object_can_be_read_after_a_reader_left(storage: Storage, blob: Location) -> None:
    for _ in range(3):
        async with storage.open(blob, ByteRange(0, SIZE)) as content:
            if isinstance(content, ByteStream):
                assert await anext(content.chunks)
    assert await read(storage, blob, 0, SIZE) == DATA


async def test_the_error_of_a_reader_is_not_changed(storage: Storage, blob: Location) -> None:
    with pytest.raises(FileNotFoundError):
        async with storage.open(blob, ByteRange(0, SIZE)):
            raise FileNotFoundError


async def test_a_good_bucket(storage: Storage) -> None:
    await storage.check_bucket(BUCKET)
    await storage.check_bucket(BUCKET)


@pytest.mark.parametrize("bucket", ["", "..", "../up", "a/b", "UPPER", "a..b", "x" * 64])
async def test_a_bad_bucket_name(storage: Storage, bucket: str) -> None:
    with pytest.raises(ConfigurationError):
        await storage.check_bucket(bucket)
