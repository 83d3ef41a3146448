"""Words and figures of collection: what goes, in which order, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime, timedelta


class Stage(StrEnum):
    """Steps of a round, in their order: each may leave work for those behind it."""

    DELETIONS = "deletions"
    """Those that cannot be undone any more; what went with them goes in the next stages."""
    MANIFESTS = "manifests"
    """Deleted ones; what they alone referred to is unreferenced from then on."""
    TAGS = "tags"
    """Deleted ones."""
    UNREFERENCED_BLOBS = "unreferenced blobs"
    """Blobs of repositories that no manifest has referred to for the grace time."""
    DELETED_BLOBS = "deleted blobs"
    """Blobs of repositories that were deleted, and that no restoration would bring back any more."""
    IMAGES = "images"
    """Deleted ones that have nothing left in them."""


class Event(Enum):
    """What is counted, for metrics."""

    UPLOADS = auto()
    UNTAGGED = auto()
    MANIFESTS = auto()
    TAGS = auto()
    IMAGES = auto()
    REPOSITORY_BLOBS = auto()
    BLOBS = auto()
    REMOVED_OBJECTS = auto()
    FREED_BYTES = auto()
    FAILED_SWEEPS = auto()
    FAILED_COLLECTIONS = auto()
    FAILED_REMOVALS = auto()


@dataclass(frozen=True, slots=True)
class Collected:
    """What a round has collected, or would collect."""

    untagged: int = 0
    """Manifests that were deleted because they have had no tag for long enough; they can be restored."""
    manifests: int = 0
    tags: int = 0
    images: int = 0
    repository_blobs: int = 0
    """Blobs that a repository does not have any more; others may have them still."""
    blobs: int = 0
    """Blobs that no repository has any more; each was an object in the storage."""
    bytes: int = 0
    """Bytes of those objects."""

    def __add__(self, other: Self) -> Collected:
        """Add up."""
        return Collected(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long what nothing needs is kept."""

    grace: timedelta
    """Blobs, since no manifest refers to them; an eighth of it may pass before a client's question renews it."""
    restore: timedelta
    """What was deleted, so that it can be restored."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What is due, and waits for the next round."""

    manifests: int
    repository_blobs: int
    objects: int
    """Objects to be deleted in the storage."""
    oldest_seconds: float
    """For how long the oldest of the manifests and blobs has been due."""


@dataclass(frozen=True, slots=True)
class Link:
    """One of the things that keep each other, and so in the end a digest."""

    kind: str
    """tag, deletion, untagged or grace at the beginning; then image, index, artifact and so on; blob at the end."""
    name: str
    """A digest, a tag, or a sentence."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a repository has a digest."""

    registry: str
    repository: str
    chain: tuple[Link, ...]
    """From what is kept by itself down to the digest."""
    until: datetime | None = None
    """None is for as long as nobody changes anything."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a command has cleaned up, or would."""

    uploads: int
    collected: Collected
    removed_objects: int = 0
    freed_bytes: int = 0
    failures: int = 0
    objections: tuple[str, ...] = ()
    """Why registries were left alone."""
