"""Surveys: comparing a registry's bucket with the database, both ways, while everything goes on.

Two streams in the order of keys are merged, so that memory does not grow with the number of objects. What differs may
only be in motion, and is asked for again until that is settled. Keys are committed before they are used, so an object
is an orphan when no row names it after it was listed, and it is still there after that. A row whose object is not
there counts when it still publishes a blob after the object was looked for in vain.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from gateway.errors import NotOffered, ObjectDamaged, ObjectMissing, StorageUnavailable
from gateway.model.catalogue import SegmentKey
from gateway.model.digest import Digest
from gateway.model.keys import folder_of, is_draft_of, is_object_of
from gateway.model.surveys import Broken, Orphan
from gateway.ports.storage import Location
from gateway.services.verify import read_digest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from gateway.model.surveys import Survey
    from gateway.ports.metadata import Registry
    from gateway.ports.storage import BlobStorage, ListedObject, ListedUpload
    from gateway.ports.surveys import ObjectRow, Progress, SurveyIndex

T = TypeVar("T")
R = TypeVar("R")

SETTLED = timedelta(minutes=20)
"""After this no call can be under way that was sent before: they end within 15 minutes, and clocks may differ by 5."""
_ROWS = 1000
_DOUBTS = 500
_AT_ONCE = 8
_READ_AT_ONCE = 4
_MOST_UNREAD = 10
"""More objects than these that cannot be read are a matter of the whole storage."""
_BROKEN_DISK = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN})
"""What the system says of a place that will never be read again, instead of a disk that is away at the moment."""


class Surveyor:
    """Surveys the registries of one storage."""

    def __init__(self, index: SurveyIndex, storage: BlobStorage, progress: Progress) -> None:
        self._index = index
        self._storage = storage
        self._progress = progress

    async def survey(self, registry: Registry, found: Survey, *, verify: bool) -> None:
        """Compare, after having read all objects again if ``verify`` says so, and note what is found as it is found.

        A reading that was interrupted goes on where it stopped: what was read is noted, with what was wrong about it.
        """
        if verify:
            await self._verify(registry, found)
        await self._compare(registry, found)
        try:
            found.orphans += await self._stray_uploads(registry)
        except NotOffered:
            found.notes.append("the storage does not list multipart uploads: those that no row names stay unknown")
        for broken in (*found.missing, *found.damaged):
            broken.affected = await self._index.fetch_affected(registry, broken.digest)

    # --- reading everything again ----------------------------------------------------------------

    async def _verify(self, registry: Registry, found: Survey) -> None:
        begun_at = await self._index.begin_verification(registry)
        unread: list[str] = []
        size, done = await self._index.sum_verification(registry, begun_at)
        with self._progress.reading(f"Reading {registry.bucket}", size) as advance:
            advance(done)

            async def verify(row: ObjectRow) -> None:
                try:
                    is_damaged = await self.is_damaged(registry, row)
                except StorageUnavailable as error:
                    unread.append(str(error))
                    if len(unread) > _MOST_UNREAD:
                        raise
                    return
                if is_damaged is not None:
                    await self._index.record_verified(row.key, is_damaged=is_damaged)
                    found.verified += 1
                advance(row.size or 0)

            last = ""
            while rows := await self._index.list_unverified(registry, begun_at, last, _ROWS):
                await _at_once(_READ_AT_ONCE, verify, rows)
                last = rows[-1].key
        if unread:
            found.failure = (
                f"objects that could not be read: {len(unread)}, which is tried again next time; {unread[0]}"
            )
        else:
            await self._index.end_verification(registry, begun_at)

    async def is_damaged(self, registry: Registry, row: ObjectRow) -> bool | None:
        """Read an object; None when it is missing or too short, which comparing tells as well.

        Raises StorageUnavailable when that cannot be told now.
        """
        digest, location = Digest.parse(row.digest or ""), Location(registry.bucket, row.key)
        try:
            return await read_digest(self._storage, location, row.size or 0, digest.algorithm) != digest
        except (ObjectMissing, ObjectDamaged):
            return None
        except OSError as error:
            if error.errno in _BROKEN_DISK:
                return True
            raise StorageUnavailable(f"reading {row.key} failed: {error}") from error

    # --- both ways -------------------------------------------------------------------------------

    async def _compare(self, registry: Registry, found: Survey) -> None:
        total = await self._index.count_objects(registry)
        strangers: list[ListedObject] = []
        doubts: list[ObjectRow] = []
        async with aclosing(self._listed(registry, found)) as listed, aclosing(self._rows(registry)) as rows:
            with self._progress.counting(f"Comparing {registry.bucket}", total) as advance:
                async for row, stored in _merged(rows, listed):
                    if row is None:
                        assert stored is not None
                        strangers.append(stored)
                    elif row.digest is not None:
                        found.objects += 1
                        if stored is None or stored.size != row.size or row.is_damaged or row.is_withdrawn:
                            doubts.append(row)
                    if row is not None:
                        advance(1)
                    if len(strangers) + len(doubts) >= _DOUBTS:
                        await self._settle(registry, found, strangers, doubts)
                await self._settle(registry, found, strangers, doubts)

    async def _rows(self, registry: Registry) -> AsyncGenerator[ObjectRow, None]:
        last = ""
        while page := await self._index.list_object_rows(registry, last, _ROWS):
            for row in page:
                yield row
            last = page[-1].key

    async def _listed(self, registry: Registry, found: Survey) -> AsyncGenerator[ListedObject, None]:
        """Yield what lies under keys that an upload may have; other keys than ours are orphans as they stand."""
        settled = datetime.now(UTC) - SETTLED
        async for page in self._storage.list_objects(registry.bucket, folder_of(registry.public_id)):
            for each in page:
                if is_object_of(registry.public_id, each.key):
                    yield each
                elif is_draft_of(registry.public_id, each.key) and each.modified > settled:
                    pass
                elif SegmentKey.parse(each.key, registry.public_id) is None:
                    found.orphans.append(Orphan(each.key, each.modified, each.size))

    async def _settle(
        self, registry: Registry, found: Survey, strangers: list[ListedObject], doubts: list[ObjectRow]
    ) -> None:
        """Look again at what differs, and note what still does."""
        if strangers:
            found.orphans += await self._orphans(registry, strangers)
        for row, size in await self._broken(registry, doubts) if doubts else ():
            assert row.digest is not None
            broken = Broken(row.digest, row.key, row.size or 0, _reason(row, size))
            (found.missing if size is None else found.damaged).append(broken)
        strangers.clear()
        doubts.clear()

    async def _orphans(self, registry: Registry, strangers: Sequence[ListedObject]) -> list[Orphan]:
        known = await self._index.fetch_object_rows([each.key for each in strangers])
        unknown = [each for each in strangers if each.key not in known]
        sizes = await self._sizes(registry, [each.key for each in unknown])
        return [
            Orphan(each.key, each.modified, size) for each, size in zip(unknown, sizes, strict=True) if size is not None
        ]

    async def _broken(self, registry: Registry, doubts: Sequence[ObjectRow]) -> list[tuple[ObjectRow, int | None]]:
        sizes = await self._sizes(registry, [row.key for row in doubts])
        now = await self._index.fetch_object_rows([row.key for row in doubts])
        found = []
        for before, size in zip(doubts, sizes, strict=True):
            row = now.get(before.key)
            if row is None or row.digest is None:
                continue
            if size != row.size or row.is_damaged or row.is_withdrawn:
                found.append((row, size))
        return found

    async def _sizes(self, registry: Registry, keys: Sequence[str]) -> list[int | None]:
        return await _at_once(_AT_ONCE, lambda key: self._storage.stat(Location(registry.bucket, key)), keys)

    # --- multipart uploads -----------------------------------------------------------------------

    async def _stray_uploads(self, registry: Registry) -> list[Orphan]:
        found = []
        async for page in self._storage.list_uploads(registry.bucket, folder_of(registry.public_id)):
            for each in await self.unexplained(page):
                # It may have been completed or aborted, and its row have gone, since it was listed.
                again = self._storage.list_uploads(registry.bucket, each.key)
                if any([each in listed async for listed in again]):
                    found.append(Orphan(each.key, each.begun, multipart_id=each.multipart_id))
        return found

    async def unexplained(self, uploads: Iterable[ListedUpload]) -> list[ListedUpload]:
        """Return those that belong to no upload session.

        The row of a key is there before the multipart upload is, and learns of its id a moment later.
        """
        uploads = list(uploads)
        rows = await self._index.fetch_object_rows({each.key for each in uploads})
        settled = datetime.now(UTC) - SETTLED
        found = []
        for each in uploads:
            row = rows.get(each.key)
            in_motion = row is not None and row.multipart_id is None and each.begun > settled
            if row is None or (row.multipart_id != each.multipart_id and not in_motion):
                found.append(each)
        return found


def _reason(row: ObjectRow, size: int | None) -> str:
    """Say what is wrong about an object that has so many bytes; None is that it is not there."""
    if size is None:
        return "the object is not there"
    if size != row.size:
        return f"the object has {size} bytes"
    return "the object has other content" if row.is_damaged else "the object is there again"


async def _merged(
    rows: AsyncIterator[ObjectRow], objects: AsyncIterator[ListedObject]
) -> AsyncIterator[tuple[ObjectRow | None, ListedObject | None]]:
    """Yield what two streams in the order of keys have of each key."""
    row, stored = await anext(rows, None), await anext(objects, None)
    while row is not None or stored is not None:
        if stored is None or (row is not None and row.key < stored.key):
            yield row, None
            row = await anext(rows, None)
        elif row is None or stored.key < row.key:
            yield None, stored
            stored = await anext(objects, None)
        else:
            yield row, stored
            row, stored = await anext(rows, None), await anext(objects, None)


async def _at_once(limit: int, work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """Do work for all items, so many at once; the first error ends the rest."""
    results: dict[int, R] = {}
    waiting = iter(enumerate(items))

    async def take() -> None:
        for place, item in waiting:
            results[place] = await work(item)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(limit):
                tasks.create_task(take())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return [results[place] for place in range(len(items))]
