"""The catalogue port: what has changed in a registry and is to be written to its bucket, as a chain of segments.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached. Changes are noted by the database itself, in the transactions that make them. Of all processes one at a time
draws a registry's next segment; while a drawn segment is not stored, no other one is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from gateway.model.catalogue import Record
    from gateway.ports.metadata import Registry


@dataclass(frozen=True, slots=True)
class Drawn:
    """A segment whose key and bytes are committed: anybody may store it, any number of times."""

    key: str
    content: bytes
    is_full: bool
    """Whether there was more to write than has found room."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be written, of all living registries."""

    changes: int
    oldest_seconds: float
    """For how long the oldest of them has waited, or a segment that was drawn and is not stored yet."""


class CatalogueIndex(Protocol):
    """What is written to the bucket, and how far that has come."""

    async def fetch_waiting(self) -> Sequence[Registry]:
        """Return living registries with something to write."""
        ...

    async def measure_backlog(self) -> Backlog:
        """Return how much waits, and for how long."""
        ...

    async def draw(self, registry: Registry, *, at_once: bool = False) -> Drawn | None:
        """Return the segment that is to be stored next; None when there is nothing, or somebody else is at it.

        One that was drawn some seconds ago and is not stored yet is returned again; ``at_once`` does not wait so long.
        """
        ...

    async def record_stored(self, registry: Registry, key: str) -> None:
        """Note that a segment is in the bucket; may be repeated."""
        ...

    async def fetch_end(self, registry: Registry) -> int:
        """Return a number that tells what has changed by now from what changes later."""
        ...

    async def is_written(self, registry: Registry, through: int) -> bool:
        """Whether everything up to a number of ``fetch_end`` is in the bucket."""
        ...

    async def fetch_last(self, registry: Registry) -> str | None:
        """Return the key of the last segment that is known to be in the bucket."""
        ...

    async def fetch_unknown(self, keys: Sequence[str]) -> Sequence[str]:
        """Return those keys that this database has never had."""
        ...

    async def fetch_life(self) -> str:
        """Return what is another one when another database may have taken the place of this one."""
        ...

    async def begin_anew(self, registry: Registry) -> None:
        """Write everything once more, as a new series of segments."""
        ...

    async def fetch_lineage(self, registry: Registry) -> int:
        """Return the lineage of what is written next: ids of rows mean the same in all segments that have it."""
        ...

    async def begin_replay(self, registry: Registry) -> bool:
        """Keep everybody from drawing while segments are replayed; return whether that was so already."""
        ...

    async def finish_replay(self, registry: Registry, found: Sequence[tuple[str, int, int]], base: str | None) -> None:
        """Go on behind segments that were found in the bucket (key, number, size), the last one last, from then on.

        Everything is written anew, since ids of rows mean something else now; until that is done ``base`` is where a
        reader begins.
        """
        ...


@dataclass(frozen=True, slots=True)
class Brought:
    """How much was brought back from a catalogue: rows that were not here before."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0


Report = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


def say_nothing(doing: str, done: int, total: int) -> None:
    """Report to nobody."""


class CatalogueReplay(Protocol):
    """Bringing back what a catalogue says, in bounded transactions: records are gathered first, then become rows."""

    def alone(self, public_id: str) -> AbstractAsyncContextManager[None]:
        """Let nobody else bring back what belongs to a registry of this public id, as long as the context lasts.

        Two who did so at once would each clear away, or find half there, what the other one has brought back. Raises
        AlreadyTaken when somebody is at it.
        """
        ...

    async def gather(self, registry: Registry, records: Sequence[Record]) -> None:
        """Gather records; of those about one entity the last one counts."""
        ...

    async def gather_absent(self, registry: Registry, since: datetime) -> None:
        """Gather that all is gone which was here at a time and was not gathered otherwise."""
        ...

    async def fetch_settings(self, registry: Registry, since: datetime | None) -> str | None:
        """Return what was gathered about the registry itself, a JSON object; None if it has changed here later."""
        ...

    async def replay(self, registry: Registry, since: datetime | None, report: Report) -> Brought:
        """Turn what was gathered into rows of a registry; may be repeated when it has failed.

        ``since`` is when the database stopped following the catalogue: ids of rows from before mean the same, and what
        has changed here later stays as it is. None is a registry without any rows. Raises ValueRefused for contents
        that are not what they should be.
        """
        ...

    async def clear(self, registry: Registry) -> None:
        """Forget what was gathered."""
        ...


class AdoptionIndex(Protocol):
    """Registries that are taken over, and what is left of those that they were."""

    async def find_former(self, public_id: str, storage: str, bucket: str, generation: int) -> Registry | None:
        """Return the deleted registry of this installation that has left a bucket in that generation."""
        ...

    async def forget_former(self, registry: Registry) -> None:
        """Forget what deleted registries with a registry's public id held, but for what is to be removed."""
        ...

    async def inherit(self, registry: Registry) -> None:
        """Let a registry have what is to be removed of those; what its catalogue names is not among it by then."""
        ...

    async def retire(self, registry: Registry, keys: Sequence[str]) -> None:
        """Have segments removed that this database has not written."""
        ...
