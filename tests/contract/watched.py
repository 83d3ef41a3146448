"""The storages under test, wrapped so that every call is checked against what was committed before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from contract.uploads import Ledger
from gateway.ports.observing import unmeasured
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.s3 import S3Settings, S3Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ports.observing import Measure
    from gateway.ports.storage import Location
    from gateway.storage.multipart import Sent
    from support.seaweed import SeaweedFS

PART = 5 << 20
"""The smallest part that S3 takes, and SeaweedFS with it."""


def settings(seaweed: SeaweedFS, endpoint_url: str, **changes: Any) -> S3Settings:
    """Return settings with small parts and short limits."""
    usual = S3Settings(
        endpoint_url=endpoint_url,
        region=seaweed.region,
        access_key_id=seaweed.access_key,
        secret_access_key=seaweed.secret_key,
        part_size=PART,
        parts_in_flight=3,
        buffer_memory=64 << 20,
        read_timeout=5.0,
        call_timeout=30.0,
    )
    return replace(usual, **changes)


class WatchedS3(S3Storage):
    """S3 that checks the order rule."""

    def __init__(self, settings: S3Settings, measure: Measure = unmeasured) -> None:
        super().__init__(settings, measure)
        self.ledger = Ledger()

    async def put(self, location: Location, body: Sequence[memoryview]) -> Sent:
        self.ledger.check_put(location.key)
        return await super().put(location, body)

    async def create_multipart(self, location: Location) -> str:
        self.ledger.check_put(location.key)
        return await super().create_multipart(location)

    async def upload_part(
        self,
        location: Location,
        multipart_id: str,
        number: int,
        body: Sequence[memoryview],
    ) -> Sent:
        self.ledger.check_part(location.key, multipart_id, number, body)
        return await super().upload_part(location, multipart_id, number, body)

    def check_idle(self) -> None:
        """Make sure that no upload has left memory or tasks behind."""
        assert self._memory.parts.lent == 0
        assert self._memory.first.lent == 0
        assert not _stray_tasks()


class WatchedFiles(FilesystemStorage):
    """Files; there is no call to check but that nothing is left behind."""

    ledger: Ledger

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ledger = Ledger()

    def check_idle(self) -> None:
        """Make sure that no upload has left memory or tasks behind."""
        assert self._buffers.lent == 0
        assert self._first_buffers.lent == 0
        assert not _stray_tasks()


def _stray_tasks() -> set[str]:
    """Return the tasks of the storage that still run."""
    running = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    return {name for name in running if "PartsInFlight" in name or "FileAppender" in name or "Multipart" in name}
