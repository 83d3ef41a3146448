"""The port of cleaning up: what has expired, what nothing needs any more, and who may object to its removal.

As with the metadata port, every method of an index is one transaction, and raises DatabaseUnavailable when the database
cannot be reached. Rows that somebody else works on at the moment are passed over, not waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ports.metadata import Registry


class Guard(Protocol):
    """Somebody who knows a reason why a registry's rows or objects must be left alone."""

    async def objection(self, registry: Registry) -> str | None:
        """Say in a sentence why nothing of a registry may be removed now; None when it may.

        Asked before each round, and for each object: what was found out holds for a while.
        """
        ...


class SweepIndex(Protocol):
    """Upload sessions that nobody will go on with."""

    async def list_expired(self) -> Sequence[Registry]:
        """Return registries, deleted ones too, with sessions that have expired and that no process works on."""
        ...

    async def end_expired(self, registry: Registry, limit: int) -> int:
        """End such sessions of a registry and give up everything that they stored; return how many.

        A client that comes back at this moment either had its session first, which is then left alone, or finds none.
        """
        ...

    async def forget_tombstones(self, limit: int) -> int:
        """Forget what finished sessions came to, once they are not to answer for it any more; return how many."""
        ...
