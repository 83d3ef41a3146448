"""Leases of upload sessions: one process writes, others can ask for the session, and dead ones are outlived."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from gateway.background import repeated
from gateway.errors import BodyCut, LeaseLost, UploadBusy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from gateway.ports.metadata import UploadIndex, UploadLease

T = TypeVar("T")

_SECONDS_BETWEEN_RENEWALS = 5.0
_SECONDS_TO_WAIT = 20.0
_SECONDS_BETWEEN_TRIES = 0.1
_SECONDS_BEFORE_ASKING = 0.5
_SECONDS_BETWEEN_ASKING = 1.0


@dataclass(slots=True)
class _Held:
    """A lease of this process, and whether somebody wants it."""

    epoch: int
    wanted: asyncio.Event = field(default_factory=asyncio.Event)


class Leases:
    """The leases that this process holds: renewed together, given up one by one when asked for."""

    def __init__(self, uploads: UploadIndex) -> None:
        self._uploads = uploads
        self._held: dict[UUID, _Held] = {}

    @property
    def held(self) -> int:
        """How many sessions are being written to."""
        return len(self._held)

    def renewing(self) -> AbstractAsyncContextManager[None]:
        """Renew all leases every few seconds as long as the context lasts."""
        # A failure loses nothing yet: the next write under an expired lease finds out by its epoch.
        return repeated(self.renew, _SECONDS_BETWEEN_RENEWALS, "leases could not be renewed")

    def heard(self, payload: str) -> None:
        """Take note that somebody asks for a session (a notification of the database: session and epoch)."""
        session_id, _, epoch = payload.partition(" ")
        with suppress(ValueError):
            held = self._held.get(UUID(session_id))
            if held is not None and held.epoch == int(epoch):
                held.wanted.set()

    async def acquire(
        self,
        session_id: UUID,
        still_fits: Callable[[], Awaitable[bool]],
        is_gone: Callable[[], bool],
    ) -> UploadLease:
        """Take the lease of a session, asking its holder for it if there is one.

        ``still_fits`` looks at the session and returns whether to go on at its progress; it raises when
        the request does not fit the session. ``is_gone`` tells whether the client has left. Raises UploadBusy
        when the holder does not let go in time, BodyCut when the client has left meanwhile.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SECONDS_TO_WAIT
        # Not at once: a client that comes back may overtake its own broken request on the way here, and that one
        # must be noticed to be dead before it can take the session from the living.
        ask_at = loop.time() + _SECONDS_BEFORE_ASKING
        while True:
            adopt_progress = await still_fits()
            if is_gone():
                raise BodyCut("the client has left")
            lease = await self._uploads.acquire_upload(session_id, adopt_progress=adopt_progress)
            if lease is not None:
                return lease
            if loop.time() > deadline:
                raise UploadBusy("another request is writing to this upload session and does not stop; try again")
            if loop.time() > ask_at:
                await self._uploads.ask_for_upload(session_id)
                ask_at = loop.time() + _SECONDS_BETWEEN_ASKING
            # The holder's last transaction frees the session; polling it costs less than a notification for each.
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)

    async def run(self, lease: UploadLease, work: Coroutine[None, None, T]) -> T:
        """Do work under a lease; when somebody else asks for the session, cancel it and raise LeaseLost."""
        held = self._held[lease.session_id] = _Held(lease.epoch)
        task = asyncio.create_task(work)
        wanted = asyncio.create_task(held.wanted.wait())
        try:
            await asyncio.wait((task, wanted), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise LeaseLost("another request has taken this upload session over")
        finally:
            wanted.cancel()
            task.cancel()
            await asyncio.gather(task, wanted, return_exceptions=True)
            if self._held.get(lease.session_id) is held:
                del self._held[lease.session_id]

    async def renew(self) -> None:
        """Renew all leases, and stop the work under those that are lost."""
        held_now = dict(self._held)
        if not held_now:
            return
        alive = await self._uploads.renew_leases([(session_id, held.epoch) for session_id, held in held_now.items()])
        for session_id, held in held_now.items():
            # Work that has ended meanwhile, and has given its lease back, is not looked at any more.
            if session_id not in alive:
                held.wanted.set()
