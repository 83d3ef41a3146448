"""What a survey of a bucket has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(slots=True)
class Orphan:
    """An object, or a multipart upload with its parts, that no row names."""

    key: str
    since: datetime
    """When it was stored or begun, by the storage's clock."""
    size: int | None = None
    """In bytes; None of a multipart upload."""
    multipart_id: str | None = None
    done: str = ""
    """What was done about it."""


@dataclass(frozen=True, slots=True)
class Affected:
    """What cannot be pulled whole without a blob."""

    repositories: tuple[str, ...] = ()
    """All that hold it."""
    tags: tuple[str, ...] = ()
    """Written ``repository:tag``."""
    manifests: tuple[str, ...] = ()
    """All that need it, also through the indexes that list them; written ``repository@digest``."""


@dataclass(slots=True)
class Broken:
    """A blob whose object is missing or damaged."""

    digest: str
    key: str
    size: int
    """In bytes, as it should be."""
    reason: str
    affected: Affected = field(default_factory=Affected)
    done: str = ""
    """What was done about it."""


@dataclass(slots=True)
class Survey:
    """Everything that was found about one registry."""

    registry: str
    bucket: str
    objects: int = 0
    """How many were looked at."""
    verified: int = 0
    """How many were read again from beginning to end."""
    orphans: list[Orphan] = field(default_factory=list)
    missing: list[Broken] = field(default_factory=list)
    damaged: list[Broken] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else has to be said, in sentences."""
    failure: str = ""
    """Why this is not all: something could not be asked, so that the rest was neither compared nor repaired."""
