"""What both storages promise about listing: everything below a prefix, in the order of keys, page by page."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contract.uploads import BUCKET, Session, finish, patch
from contract.watched import PART, WatchedFiles, WatchedS3
from gateway.errors import NotOffered, StorageUnavailable
from gateway.ports.storage import Location
from gateway.storage import filesystem, folder_listing, listing
from support.faults import Fault, FaultyS3

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.ports.storage import ListedObject, ListedUpload

Storage = WatchedFiles | WatchedS3

SIZES = {"a/x": 3, "a/y/z": 0, "a/y0": 4, "a0": 5, "b": 6, "b-": 7, "b.c": 8}


class Names(Session):
    """Sessions whose keys the test chooses."""

    def __init__(self, storage: Storage, key: str) -> None:
        super().__init__(storage.ledger, random.Random())
        self.wanted = key

    def _fresh(self) -> str:
        key = self.wanted if self.wanted not in self.ledger.keys else f"{self.wanted}-tail"
        self.ledger.keys.add(key)
        return key


async def store(storage: Storage, prefix: str, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        await finish(storage, Names(storage, prefix + name), bytes(size))


@pytest.fixture
def prefix() -> str:
    return f"slipway/{uuid4().hex}/"


async def pages_of(storage: Storage, prefix: str, after: str = "") -> list[list[ListedObject]]:
    return [list(page) async for page in storage.list_objects(BUCKET, prefix, after)]


async def keys_of(storage: Storage, prefix: str, after: str = "") -> list[str]:
    return [each.key for page in await pages_of(storage, prefix, after) for each in page]


async def uploads_of(storage: Storage, prefix: str) -> list[ListedUpload]:
    return [each async for page in storage.list_uploads(BUCKET, prefix) for each in page]


def ordered(prefix: str, names: Iterable[str]) -> list[str]:
    return sorted((prefix + name for name in names), key=str.encode)


async def test_everything_below_the_prefix_in_the_order_of_keys(storage: Storage, prefix: str) -> None:
    begun = datetime.now(UTC)
    await store(storage, prefix, SIZES)
    await store(storage, prefix[:-1] + "-other/", {"a": 1})
    found = [each for page in await pages_of(storage, prefix) for each in page]
    assert [each.key for each in found] == ordered(prefix, SIZES)
    assert {each.key: each.size for each in found} == {prefix + name: size for name, size in SIZES.items()}
    assert all(abs(each.modified - begun) < timedelta(minutes=2) for each in found)


async def test_going_on_behind_any_key(storage: Storage, prefix: str) -> None:
    await store(storage, prefix, SIZES)
    keys = ordered(prefix, SIZES)
    for after in (*keys, *ordered(prefix, ["a00", "b-a", "z"])):
        assert await keys_of(storage, prefix, after) == [key for key in keys if key > after], after


async def test_many_pages(storage: Storage, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LISTED_AT_ONCE", 2)
    monkeypatch.setattr(filesystem, "LISTED_AT_ONCE", 2)
    monkeypatch.setattr(folder_listing, "WINDOW", 3)
    await store(storage, prefix, SIZES)
    found = await pages_of(storage, prefix)
    assert [len(page) for page in found] == [2, 2, 2, 1]
    assert [each.key for page in found for each in page] == ordered(prefix, SIZES)
    assert await keys_of(storage, prefix, prefix + "a/y/z") == ordered(prefix, SIZES)[2:]


async def test_nothing_below_a_prefix(storage: Storage, prefix: str) -> None:
    assert await pages_of(storage, prefix) == []
    assert await uploads_of(storage, prefix) == []


async def test_what_was_removed_is_not_listed(storage: Storage, prefix: str) -> None:
    await store(storage, prefix, {"a": 1, "b": 1})
    await storage.remove(Location(BUCKET, prefix + "a"), None)
    assert await keys_of(storage, prefix) == [prefix + "b"]


async def test_a_bucket_that_is_not_there_is_not_empty(storage: Storage, prefix: str) -> None:
    with pytest.raises(StorageUnavailable):
        _ = [page async for page in storage.list_objects("no-such-bucket", prefix)]


# --- files ---------------------------------------------------------------------------------------


async def test_a_folder_comes_where_its_slash_puts_it(files: WatchedFiles, prefix: str) -> None:
    await store(files, prefix, {"a-b": 1, "a/x": 2, "a.b": 3})
    assert await keys_of(files, prefix) == [prefix + name for name in ("a-b", "a.b", "a/x")]
    assert await keys_of(files, prefix, prefix + "a.b") == [prefix + "a/x"]


async def test_an_upload_on_its_way_is_a_file(files: WatchedFiles, prefix: str) -> None:
    await patch(files, Names(files, prefix + "a"), b"begun")
    ((found,),) = await pages_of(files, prefix)
    assert (found.key, found.size) == (prefix + "a", 5)


async def test_what_is_no_file_is_not_listed(files: WatchedFiles, prefix: str, tmp_path: Path) -> None:
    await store(files, prefix, {"a": 1})
    folder = tmp_path / BUCKET / prefix
    (folder / "link").symlink_to(folder / "a")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "empty").mkdir()
    assert await keys_of(files, prefix) == [prefix + "a"]


async def test_names_that_are_no_text(files: WatchedFiles, prefix: str, tmp_path: Path) -> None:
    await store(files, prefix, {"a": 1})
    (tmp_path / BUCKET / prefix / b"\xff".decode(errors="surrogateescape")).write_bytes(b"")
    assert await keys_of(files, prefix) == [prefix + "a", prefix + "\ufffd"]


async def test_a_file_that_goes_while_it_is_listed(
    files: WatchedFiles, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(files, prefix, {"a": 1, "b": 1})
    monkeypatch.setattr(filesystem, "LISTED_AT_ONCE", 1)
    listing_ = files.list_objects(BUCKET, prefix)
    await anext(listing_)
    await files.remove(Location(BUCKET, prefix + "b"), None)
    assert [page async for page in listing_] == []


# --- S3 ------------------------------------------------------------------------------------------


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LISTED_AT_ONCE", 2)


@pytest.mark.parametrize("refusal", [Fault.NOT_IMPLEMENTED, Fault.LIST_BY_THE_OLDER_CALL])
@pytest.mark.usefixtures("small_pages")
async def test_a_service_that_lacks_the_newer_call(
    shaky: WatchedS3, proxy: FaultyS3, prefix: str, refusal: Fault
) -> None:
    await store(shaky, prefix, SIZES)
    proxy.seen.clear()
    proxy.fail("ListObjectsV2", refusal)
    assert await keys_of(shaky, prefix) == ordered(prefix, SIZES)
    assert await keys_of(shaky, prefix, prefix + "a/y/z") == ordered(prefix, SIZES)[2:]
    assert proxy.seen.count("ListObjectsV2") == 1


@pytest.mark.usefixtures("small_pages")
async def test_a_failure_that_passes(shaky: WatchedS3, proxy: FaultyS3, prefix: str) -> None:
    await store(shaky, prefix, SIZES)
    proxy.fail("ListObjectsV2", Fault.SLOW_DOWN)
    assert await keys_of(shaky, prefix) == ordered(prefix, SIZES)


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.CUT])
async def test_a_list_that_cannot_be_had(shaky: WatchedS3, proxy: FaultyS3, prefix: str, fault: Fault) -> None:
    await store(shaky, prefix, {"a": 1})
    proxy.fail("ListObjectsV2", fault, times=5)
    with pytest.raises(StorageUnavailable):
        await keys_of(shaky, prefix)


async def test_a_list_out_of_order(prefix: str) -> None:
    async def ask(*_: str, **__: object) -> object:
        now = datetime.now(UTC)
        return {
            "KeyCount": 2,
            "Contents": [{"Key": prefix + name, "Size": 0, "LastModified": now} for name in ("b", "a")],
        }

    with pytest.raises(StorageUnavailable, match="order"):
        _ = [page async for page in listing.Listing(ask).objects("bucket", prefix, "")]


@pytest.mark.usefixtures("small_pages")
async def test_unfinished_multipart_uploads(s3: WatchedS3, prefix: str, content: bytes) -> None:
    names = ["a", "b", "c", "d", "e"]
    sessions = [Names(s3, prefix + name) for name in names]
    for session in sessions:
        await patch(s3, session, content[: PART + 1], last=False)
    found = await uploads_of(s3, prefix)
    assert sorted((each.key, each.multipart_id) for each in found) == [
        (each.key, each.multipart_id) for each in sessions
    ]
    assert [each.key for each in await uploads_of(s3, prefix + "b")] == [prefix + "b"]
    for session in sessions:
        await s3.remove(Location(BUCKET, str(session.key)), session.multipart_id)
    assert await uploads_of(s3, prefix) == []


async def test_a_service_that_lists_no_uploads(shaky: WatchedS3, proxy: FaultyS3, prefix: str) -> None:
    proxy.fail("ListMultipartUploads", Fault.NOT_IMPLEMENTED)
    with pytest.raises(NotOffered):
        await uploads_of(shaky, prefix)
