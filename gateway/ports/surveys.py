"""The port of surveys: what the database says that a bucket holds, and what was found to be wrong about it.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from gateway.model.access import Actor
    from gateway.model.surveys import Affected
    from gateway.ports.metadata import Registry


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """What the database says of a key."""

    key: str
    digest: str | None
    """Of the blob that it publishes; None while it is written, and when it is to be removed."""
    size: int | None
    """In bytes; None until it is published."""
    multipart_id: str | None
    is_damaged: bool
    """Whether its content was found to be another one than its blob's."""
    is_withdrawn: bool
    """Whether its blob is answered for as if it were not there, until the digest is pushed again."""


class SurveyIndex(Protocol):
    """The rows that a survey compares, and those that it writes."""

    async def list_object_rows(self, registry: Registry, after: str, limit: int) -> Sequence[ObjectRow]:
        """Return rows of objects behind the key ``after``, in the order of their keys."""
        ...

    async def fetch_object_rows(self, keys: Collection[str]) -> Mapping[str, ObjectRow]:
        """Return the rows that there are at this moment."""
        ...

    async def count_objects(self, registry: Registry) -> int:
        """Return how many rows of objects a registry has."""
        ...

    async def begin_verification(self, registry: Registry) -> datetime:
        """Return when the reading of all objects was begun that has not been finished yet; that may be now."""
        ...

    async def sum_verification(self, registry: Registry, begun_at: datetime) -> tuple[int, int]:
        """Return how many bytes are published, and how many of them were read since a reading was begun."""
        ...

    async def list_unverified(
        self, registry: Registry, begun_at: datetime, after: str, limit: int
    ) -> Sequence[ObjectRow]:
        """Return published objects behind the key ``after`` that were not read since, in the order of their keys."""
        ...

    async def record_verified(self, key: str, *, is_damaged: bool) -> None:
        """Note that an object was read just now."""
        ...

    async def end_verification(self, registry: Registry, begun_at: datetime) -> None:
        """Note that everything was read: the next reading begins anew."""
        ...

    async def fetch_affected(self, registry: Registry, digest: str) -> Affected:
        """Return who needs a blob."""
        ...

    async def withdraw_blob(self, actor: Actor, key: str) -> bool:
        """Let the blob of an object be unknown until it is pushed again; False if it has another object by now."""
        ...

    async def readmit_blob(self, actor: Actor, key: str) -> bool:
        """Let the blob of an object be known again."""
        ...


class Progress(Protocol):
    """Shows people how far something is."""

    def counting(self, doing: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show so many steps; what comes back is told of those that are done."""
        ...

    def reading(self, doing: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show so many bytes in the same way."""
        ...
