"""The port of cleaning up: what has expired, what nothing needs any more, and who may object to its removal.

As with the metadata port, every method of an index is one transaction, and raises DatabaseUnavailable when the database
cannot be reached. Rows that somebody else works on at the moment are passed over, not waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.model.collection import Collected, Event, Keeping, Queue, Stage
    from gateway.ports.metadata import Registry


class Tally(Protocol):
    """Adds up what has happened, for metrics; costs a look into memory."""

    def __call__(self, event: Event, number: int = 1, /) -> None:
        """Add a number."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction has collected, and where the next one is to begin."""

    collected: Collected
    after: datetime | None
    """Since when the last of it was due; None when there was no more."""


class Guard(Protocol):
    """Somebody who knows a reason why a registry's rows or objects must be left alone."""

    async def objection(self, registry: Registry) -> str | None:
        """Say in a sentence why nothing of a registry may be removed now; None when it may.

        Asked before each round, and for each object: what was found out holds for a while.
        """
        ...


class SweepIndex(Protocol):
    """Upload sessions that nobody will go on with."""

    async def list_expired(self, *, left_behind: bool) -> Sequence[Registry]:
        """Return registries with sessions that have expired and that no process works on.

        With ``left_behind``, deleted ones, whose sessions began while they were being deleted; else living ones.
        """
        ...

    async def count_expired(self, registries: Sequence[Registry]) -> int:
        """Return how many such sessions there are in registries."""
        ...

    async def end_expired(self, registry: Registry, limit: int) -> int:
        """End such sessions of a registry and give up everything that they stored; return how many.

        A client that comes back at this moment either had its session first, which is then left alone, or finds none.
        """
        ...

    async def forget_tombstones(self, limit: int) -> int:
        """Forget what finished sessions came to, once they are not to answer for it any more; return how many."""
        ...


class CollectionIndex(Protocol):
    """What nothing needs any more."""

    async def take_turn(self, name: str, seconds: float) -> bool:
        """Whether a kind of work is the caller's now: nobody has taken its turn for so long."""
        ...

    async def list_registries(self, name: str | None = None) -> Sequence[Registry]:
        """Return the living registries, or the one of a name."""
        ...

    async def delete_untagged(self, registries: Sequence[Registry]) -> int:
        """Delete manifests without a tag, of images that do not keep them for ever, and return how many.

        Each is a deletion of its own, a transaction each, which can be undone.
        """
        ...

    async def collect(
        self, stage: Stage, registries: Sequence[Registry], keeping: Keeping, after: datetime, limit: int
    ) -> Batch:
        """Collect, of what is due for a stage, what became due at ``after`` or later, the longest due first.

        Blobs that no repository has any more go in the same transaction, and their objects are to be removed. What is
        referred to, restored, or promised to a client at this moment is not collected.
        """
        ...

    async def measure_queue(self, keeping: Keeping) -> Queue:
        """Return what is due."""
        ...

    async def estimate(self, registries: Sequence[Registry], keeping: Keeping) -> Collected:
        """Return what a round would collect now, if nothing happened meanwhile."""
        ...
