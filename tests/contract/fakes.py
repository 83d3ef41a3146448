"""A multipart store in memory, for tests that need parts of a few KiB; a real service takes none below 5 MiB."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from typing import TYPE_CHECKING

from gateway.errors import MultipartLost, ObjectDamaged, ObjectMissing, StorageUnavailable
from gateway.storage.multipart import Sent

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from contract.uploads import Ledger
    from gateway.ports.storage import Location, Part


class MemoryStore:
    """Stores objects and parts, answers in any order, and insists on equal parts and on the order rule."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        self.ledger = ledger
        self.chance = chance
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self.fail_next_parts = 0
        self._ids = itertools.count()

    async def put(self, location: Location, body: Sequence[memoryview]) -> Sent:
        self.ledger.check_put(location.key)
        self.objects[location.key] = await self._receive(body)
        return self._sent(self.objects[location.key])

    async def create_multipart(self, location: Location) -> str:
        self.ledger.check_put(location.key)
        multipart_id = f"upload-{next(self._ids)}"
        await self._delay()
        self.uploads[multipart_id] = {}
        return multipart_id

    async def upload_part(self, location: Location, multipart_id: str, number: int, body: Sequence[memoryview]) -> Sent:
        self.ledger.check_part(location.key, multipart_id, number, body)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            content = await self._receive(body)
        finally:
            self.in_flight -= 1
        if self.fail_next_parts:
            self.fail_next_parts -= 1
            raise StorageUnavailable("made to fail")
        self._upload(multipart_id)[number] = content
        return self._sent(content)

    async def complete_multipart(self, location: Location, multipart_id: str, parts: Sequence[Part]) -> None:
        await self._delay()
        held = self._upload(multipart_id)
        contents = [held[part.number] for part in parts]
        assert [self._sent(content).etag for content in contents] == [part.etag for part in parts]
        assert [part.number for part in parts] == sorted(part.number for part in parts)
        assert len({len(content) for content in contents[:-1]}) <= 1, "unequal parts"
        assert len(contents) == 1 or len(contents[-1]) <= len(contents[0]), "the last part is the largest"
        self.objects[location.key] = b"".join(contents)
        del self.uploads[multipart_id]

    async def abort(self, location: Location, multipart_id: str) -> None:
        del location
        self.uploads.pop(multipart_id, None)

    async def stat(self, location: Location) -> int | None:
        await self._delay()
        content = self.objects.get(location.key)
        return None if content is None else len(content)

    async def read(self, location: Location, into: memoryview) -> None:
        await self._delay()
        if location.key not in self.objects:
            raise ObjectMissing(location.key)
        if len(self.objects[location.key]) != len(into):
            raise ObjectDamaged(location.key)
        into[:] = self.objects[location.key]

    async def _receive(self, body: Sequence[memoryview]) -> bytes:
        """Take the bytes one view after another, as a connection does, so that a buffer given back too early shows."""
        before = b"".join(body)
        await self._delay()
        after = b"".join(body)
        assert before == after, "the memory was filled again while it was being sent"
        return after

    async def _delay(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    def _upload(self, multipart_id: str) -> dict[int, bytes]:
        if multipart_id not in self.uploads:
            raise MultipartLost(multipart_id)
        return self.uploads[multipart_id]

    @staticmethod
    def _sent(content: bytes) -> Sent:
        return Sent(hashlib.md5(content).hexdigest())
