"""The catalogue port: what has changed in a registry and is to be written to its bucket, as a chain of segments.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached. Changes are noted by the database itself, in the transactions that make them. Of all processes one at a time
draws a registry's next segment; while a drawn segment is not stored, no other one is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ports.metadata import Registry


@dataclass(frozen=True, slots=True)
class Drawn:
    """A segment whose key and bytes are committed: anybody may store it, any number of times."""

    key: str
    content: bytes
    is_full: bool
    """Whether there was more to write than has found room."""


class CatalogueIndex(Protocol):
    """What is written to the bucket, and how far that has come."""

    async def fetch_waiting(self) -> Sequence[Registry]:
        """Return living registries with something to write."""
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

    async def begin_anew(self, registry: Registry) -> None:
        """Write everything once more, as a new series of segments."""
        ...
