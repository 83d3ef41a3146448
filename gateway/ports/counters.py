"""The ports of counting: the journal that outlives a killed process, and the tables that add everything up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID


class Kind:
    """What is counted. Plain numbers: those of an enumeration take ten times as long to look up."""

    PULL = 1
    RESOLUTION = 2
    PROXIED_BYTES = 3
    REDIRECTED_BYTES = 4


class CountKey(NamedTuple):
    """One counter. What does not apply to its kind is 0."""

    kind: int
    registry_id: int
    repository_id: int = 0
    subject_id: int = 0
    """The manifest that was pulled, or the tag that was resolved."""
    key_id: int = 0
    """The access key's row; 0 is anonymous."""
    hour: int = 0
    """Hours since 1970."""


AnyKey = CountKey | tuple[int, int, int, int, int, int]
"""The same values in a plain tuple are the same key, and take a fifth of the time to make."""


class Count(NamedTuple):
    """How far a counter has come within a batch."""

    key: CountKey
    amount: int
    last: int
    """When it was last counted, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Counts that are written together, once: whoever repeats the number of a journal writes nothing."""

    journal: UUID
    number: int
    """From 1; grows with every batch of the journal and is never used again."""
    counts: tuple[Count, ...]


class Backlog(Protocol):
    """Batches that wait to be written. Survives its process; used by one task of one process at a time."""

    @property
    def id(self) -> UUID:
        """Random, made with the file."""
        ...

    def oldest_batch(self) -> Batch | None:
        """Return the batch that has to be written next."""
        ...

    def drop_batch(self, number: int) -> None:
        """Forget the oldest batch, which is written."""
        ...

    def sync(self) -> None:
        """Make everything survive a crash of the machine; call it in a thread, and before a batch is written."""
        ...

    def remove(self) -> None:
        """Delete the file, in which no batch is left."""
        ...

    def close(self) -> None:
        """Let go of the file; if it is still there, the next process takes it over."""
        ...


class Journal(Backlog, Protocol):
    """The memory of one process's counters: what ``add`` has returned True for survives the process."""

    @property
    def is_filling(self) -> bool:
        """Whether it is time to write early, since many different counters are in use."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether everything that was counted is written."""
        ...

    @property
    def unwritten(self) -> int:
        """How many different counters there are that are not written, in all batches together."""
        ...

    def add(self, key: AnyKey, amount: int, now: int) -> bool:
        """Count; False without an effect when there is no room, because nothing could be written for long."""
        ...

    def freeze(self) -> bool:
        """Make a batch of what was counted so far; False when that is nothing, or when there is no room for another."""
        ...


class JournalShelf(Protocol):
    """The folder in which the processes of a machine keep their journals. All methods block for a moment."""

    def create(self) -> Journal:
        """Make a journal for this process."""
        ...

    def take_over(self) -> Sequence[Backlog]:
        """Take over the journals of processes that are gone."""
        ...


class PullIndex(Protocol):
    """The tables that add everything up. All methods raise DatabaseUnavailable."""

    async def apply(self, batch: Batch) -> None:
        """Add a batch to the totals and to the history, unless its number was written before."""
        ...

    async def forget_journal(self, journal: UUID) -> None:
        """Drop what is remembered of a journal that was emptied and deleted."""
        ...

    async def roll_up(self, before: datetime, limit: int) -> int:
        """Move hours from before a time into days, some rows at once; return how many, 0 when another does it."""
        ...
