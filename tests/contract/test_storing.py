"""What both storages promise about small objects that are stored in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.uploads import BUCKET, read
from contract.watched import WatchedFiles, WatchedS3
from gateway.ports.storage import Location

if TYPE_CHECKING:
    from pathlib import Path

Storage = WatchedFiles | WatchedS3
PLACE = Location(BUCKET, "slipway/test/catalogue/1/0000000000000001-abc")


async def store(storage: Storage, content: bytes, place: Location = PLACE) -> None:
    storage.ledger.keys.add(place.key)
    storage.ledger.put.discard(place.key)
    await storage.store(place, content)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_an_object_is_there_whole(storage: Storage, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    await store(storage, content[:size])

    assert await storage.stat(PLACE) == size
    assert await read(storage, PLACE, 0, size) == content[:size]


async def test_storing_may_be_repeated(storage: Storage) -> None:
    for _ in range(2):
        await store(storage, b"the same")

    assert await read(storage, PLACE, 0, 8) == b"the same"


async def test_files_leave_no_drafts(files: WatchedFiles, tmp_path: Path) -> None:
    await store(files, b"content")

    assert [path.name for path in (tmp_path / BUCKET).rglob("*") if path.is_file()] == [PLACE.key.rpartition("/")[2]]
