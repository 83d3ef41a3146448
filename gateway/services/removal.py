"""Removing objects that nothing names any more.

Rows come first: a transaction marks objects as *removing*, and only such objects are deleted in the storage, by a
loop in every process. Deleting is idempotent, so two processes may meet at the same object. A row stays until its
object was deleted a second time, long after the first: a storage call that hung may land late. Where the bucket's
marker says that somebody else has taken the registry over, nothing is deleted; where a guard objects, nothing yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from gateway.background import goes_on, in_background
from gateway.errors import BackendError, BucketMissing, NotOffered, ValueRefused
from gateway.model.collection import Event
from gateway.services.guards import objection, told
from gateway.services.tallies import uncounted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.ports.collection import Guard, Tally
    from gateway.ports.metadata import Registry, RemovableObject, RemovalIndex
    from gateway.ports.storage import BlobStorage, Location
    from gateway.services.markers import Markers

_log = logging.getLogger(__name__)

_BATCH = 100
_MOST_FAILURES = 3
_SECONDS_BETWEEN_ROUNDS = 60.0


class Remover:
    """Deletes removing objects, soon after it is woken and once a minute anyway."""

    def __init__(
        self,
        objects: RemovalIndex,
        storage: BlobStorage,
        markers: Markers,
        guards: Sequence[Guard] = (),
        tally: Tally = uncounted,
    ) -> None:
        self._objects = objects
        self._storage = storage
        self._markers = markers
        self._guards = guards
        self._tally = tally
        self._woken = asyncio.Event()
        self._stopped_at: dict[tuple[Registry, bool], int] = {}
        """How far a round has come that has failed too often in a registry: the next one goes on behind that object.

        First and second deletions apart: the second one needs more rights, and without them must not delay the first.
        """

    def wake(self) -> None:
        """Begin a round soon: something was marked."""
        self._woken.set()

    def running(self) -> AbstractAsyncContextManager[None]:
        """Remove objects in the background as long as the context lasts."""
        return in_background(self._run_for_ever())

    async def remove_all(self) -> None:
        """Remove what is due now, batch by batch; what cannot be removed is left for the next round.

        So is the whole of a registry, from the first objection on; while there is none, the guards are asked all along.
        So is what lies behind a few failures in a registry, whose bucket must not keep the others waiting.
        """
        last = 0
        left: set[Registry] = set()
        failures: Counter[tuple[Registry, bool]] = Counter()
        while batch := await self._objects.fetch_removing(last, _BATCH):
            for removable in batch:
                registry, kind = removable.registry, (removable.registry, removable.again)
                is_stopped = failures[kind] == _MOST_FAILURES or removable.id <= self._stopped_at.get(kind, 0)
                if registry in left or is_stopped:
                    continue
                if reason := await told(self._objection(removable), self._tally, Event.FAILED_REMOVALS):
                    _log.warning("objects in the bucket %s are not removed: %s", registry.bucket, reason)
                    left.add(registry)
                elif not await self._attempt(removable):
                    failures[kind] += 1
                    if failures[kind] == _MOST_FAILURES:
                        self._stopped_at[kind] = removable.id
            last = batch[-1].id
        self._stopped_at = {
            kind: place
            for kind, place in self._stopped_at.items()
            if kind[0] in left or failures[kind] == _MOST_FAILURES
        }

    async def _objection(self, removable: RemovableObject) -> str | None:
        with _unless_left_behind(removable):
            # What another installation decides about is only forgotten here, whatever else there is to say.
            if await self._markers.may_remove(removable.registry):
                return await objection(self._guards, removable.registry)
        return None

    async def _attempt(self, removable: RemovableObject) -> bool:
        """Remove an object, and return whether that has succeeded."""
        try:
            await self._remove(removable)
        except (BackendError, ValueRefused) as error:
            self._tally(Event.FAILED_REMOVALS)
            _log.warning("object %s could not be removed: %s", removable.location.key, error)
            return False
        return True

    async def _remove(self, removable: RemovableObject) -> None:
        with _unless_left_behind(removable):
            if not await self._markers.may_remove(removable.registry):
                await self._objects.forget_object(removable.id)
                return
            await self._storage.remove(removable.location, removable.multipart_id)
            if removable.again:
                await self._abort_strays(removable.location)
        if removable.again:
            await self._objects.forget_object(removable.id)
        elif await self._objects.record_removed(removable.id):
            self._tally(Event.REMOVED_OBJECTS)
            self._tally(Event.FREED_BYTES, removable.size)

    async def _abort_strays(self, location: Location) -> None:
        """Abort multipart uploads whose ids nobody has heard of, because a process has died or an answer was lost."""
        with suppress(NotOffered):
            async for page in self._storage.list_uploads(location.bucket, location.key):
                for upload in page:
                    if upload.key == location.key:
                        await self._storage.remove(location, upload.multipart_id)

    async def _run_for_ever(self) -> None:
        while goes_on():
            self._woken.clear()
            try:
                await self.remove_all()
            except Exception:  # noqa: BLE001  (the loop must go on)
                # Whatever it was, the next round may go better, and there must be one.
                self._tally(Event.FAILED_REMOVALS)
                _log.exception("objects could not be removed")
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_BETWEEN_ROUNDS):
                    await self._woken.wait()


@contextmanager
def _unless_left_behind(removable: RemovableObject) -> Iterator[None]:
    """Take an object for removed whose bucket is gone as well, if its registry was deleted.

    Of a living one that would be a fault, such as a disk that is not mounted. Where it is one here too, some unfinished
    uploads are left in a bucket that holds all the other objects of its registry anyway.
    """
    try:
        yield
    except BucketMissing:
        if not removable.is_left_behind:
            raise
