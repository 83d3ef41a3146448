"""Counting pulls: in memory while requests are answered, in the database a second later.

What is counted stands in the journal before the answer begins, and outlives the process. Writing is repeated until it
succeeds, and cannot count twice: each batch has a number, which the database adds once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.background import goes_on, in_background, repeated
from gateway.errors import BackendError, DatabaseUnavailable
from gateway.model.pulls import effect_of
from gateway.ports.counters import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model.pulls import Exclusions
    from gateway.ports.counters import Backlog, Journal, JournalShelf, PullIndex
    from gateway.ports.metadata import ManifestRecord, Registry

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_BATCHES = 1.0
_LONGEST_PAUSE = 30.0
_SECONDS_BETWEEN_ROUNDS = 60.0
"""How often journals of processes that are gone are looked for, and hours are rolled up."""
_SECONDS_FOR_THE_LAST_BATCH = 5.0
_ROWS_ROLLED_UP_AT_ONCE = 5000
_SECONDS_PER_HOUR = 3600


class Counters:
    """The counters of one process."""

    def __init__(self, shelf: JournalShelf, index: PullIndex, exclusions: Exclusions, *, hourly_days: int) -> None:
        self._shelf = shelf
        self._index = index
        self._exclusions = exclusions
        self._hourly = timedelta(days=hourly_days)
        self._journal: Journal = shelf.create()
        self._filling = asyncio.Event()
        self._batched_at = self._written_until = time.monotonic()

    @property
    def unwritten(self) -> int:
        """How many different counters wait to be written."""
        return self._journal.unwritten

    def unwritten_seconds(self) -> float:
        """Return how long the oldest of them may have waited."""
        return 0.0 if self._journal.is_empty else time.monotonic() - self._written_until

    # --- counting: memory only -------------------------------------------------------------------

    def count_manifest(
        self,
        registry: Registry,
        manifest: ManifestRecord,
        caller: tuple[int, str | None],
        agent: str | None,
        *,
        has_body: bool,
    ) -> None:
        """Count a manifest that is about to be served to a caller (key's row or 0, access key id).

        Raises DatabaseUnavailable when there is no room, because nothing could be written for long.
        """
        key_id, access_key_id = caller
        if self._exclusions.cover(access_key_id, agent):
            return
        effect = effect_of(kind=manifest.kind, by_tag=manifest.tag_id is not None, has_body=has_body)
        if effect.pulls:
            self._count(Kind.PULL, registry.id, manifest.repository_id, manifest.id, key_id)
        if effect.resolves and manifest.tag_id is not None:
            self._count(Kind.RESOLUTION, registry.id, manifest.repository_id, manifest.tag_id, 0)

    def count_bytes(self, registry: Registry, kind: int, amount: int) -> None:
        """Count bytes of blobs that were proxied, or offered by redirect. A figure for costs, so never a failure."""
        with suppress(DatabaseUnavailable):
            self._count(kind, registry.id, 0, 0, 0, amount)

    def _count(self, kind: int, registry: int, repository: int, subject: int, key: int, amount: int = 1) -> None:
        now = int(time.time())
        counter = (kind, registry, repository, subject, key, now // _SECONDS_PER_HOUR)
        if not self._journal.add(counter, amount, now):
            raise DatabaseUnavailable("pulls could not be written for so long that no more can be counted")
        if self._journal.is_filling:
            self._filling.set()

    # --- writing ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what is counted as long as the context lasts, and what is left in the end."""
        failure = "what others have counted waits in their journals"
        rounds = repeated(self._look_after_all, _SECONDS_BETWEEN_ROUNDS, failure, at_once=True)
        async with in_background(self._write_for_ever()), rounds:
            yield
        try:
            async with asyncio.timeout(_SECONDS_FOR_THE_LAST_BATCH):
                while not self._journal.is_empty:
                    await self.write()
                await self._forget(self._journal)
        except (BackendError, TimeoutError) as error:
            _log.warning("pulls that were counted stay in the journal for the next process: %s", error)
        finally:
            self._journal.close()

    async def write(self) -> None:
        """Write all that was counted until now; raises DatabaseUnavailable."""
        self._filling.clear()
        if self._journal.is_empty:
            self._batched_at = self._written_until = time.monotonic()
            return
        # While an older batch cannot be written, everything goes on being counted in one place.
        if self._journal.oldest_batch() is None:
            self._batched_at = time.monotonic()
            self._journal.freeze()
        await self._write_batches(self._journal)
        self._written_until = self._batched_at
        if self._journal.is_filling:
            # The room of what was written can be used after a sync, and may be wanted before the next second.
            await asyncio.to_thread(self._journal.sync)

    async def look_around(self) -> None:
        """Write what processes have left behind that are gone; raises DatabaseUnavailable."""
        backlogs = await asyncio.to_thread(self._shelf.take_over)
        try:
            for backlog in backlogs:
                await self._write_batches(backlog)
                await self._forget(backlog)
        finally:
            for backlog in backlogs:
                backlog.close()

    async def roll_up(self) -> None:
        """Make days of hours that are past their retention; raises DatabaseUnavailable."""
        before = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - self._hourly
        while await self._index.roll_up(before, _ROWS_ROLLED_UP_AT_ONCE):
            pass

    async def _look_after_all(self) -> None:
        await self.look_around()
        await self.roll_up()

    async def _write_batches(self, backlog: Backlog) -> None:
        """Write a journal's batches, oldest first."""
        # Before the database is asked, which may be away: what was counted must outlive the machine by the next second.
        await asyncio.to_thread(backlog.sync)
        while (batch := backlog.oldest_batch()) is not None:
            await self._index.apply(batch)
            backlog.drop_batch(batch.number)

    async def _forget(self, backlog: Backlog) -> None:
        """Delete an empty journal, and only then what the database knows of it."""
        backlog.remove()
        await self._index.forget_journal(backlog.id)

    async def _write_for_ever(self) -> None:
        pause = _SECONDS_BETWEEN_BATCHES
        while goes_on():
            # Not wait_for: on Python 3.11 it may swallow the cancellation that ends this loop.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._filling.wait()
            try:
                await self.write()
                pause = _SECONDS_BETWEEN_BATCHES
            except BackendError as error:
                _log.warning("pulls wait in the journal: %s", error)
                self._filling.clear()
                # All processes lost the database at the same moment, and shall not come back at the same moment.
                pause = min(2 * pause, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311
            except Exception:  # noqa: BLE001  (the loop must go on)
                _log.exception("pulls wait in the journal")
