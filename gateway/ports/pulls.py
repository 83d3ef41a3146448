"""The port of reports about pulls: every method is an index read that stays in milliseconds.

What a client was served is in these figures a second later. All methods raise DatabaseUnavailable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.model.names import RepositoryName, Tag
    from gateway.ports.metadata import Registry


@dataclass(frozen=True, slots=True)
class RepositoryPulls:
    """A repository's total."""

    repository_id: int
    repository: str
    pulls: int
    last_pulled_at: datetime | None


@dataclass(frozen=True, slots=True)
class TagPulls:
    """A tag's figures."""

    tag: str
    pulls: int
    """Of the image that it points at; of an index, the sum of the images that it lists."""
    resolutions: int
    """How often the tag was asked for, by GET or HEAD."""
    last_pulled_at: datetime | None
    """When it was last asked for."""


@dataclass(frozen=True, slots=True)
class Day:
    """What was counted on one day (UTC)."""

    day: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of blobs in one hour."""

    hour: datetime
    proxied: int
    """Sent by Slipway."""
    redirected: int
    """Offered by redirects; whether they were fetched is known to the storage only."""


class PullReports(Protocol):
    """What was counted."""

    async def top_repositories(
        self, registry: Registry, limit: int, after: RepositoryPulls | None = None
    ) -> Sequence[RepositoryPulls]:
        """Return repositories with a manifest, the most pulled first, behind the last one of another page."""
        ...

    async def repository(self, registry: Registry, repository: RepositoryName) -> RepositoryPulls:
        """Return a repository's total; raise RepositoryUnknown."""
        ...

    async def tags(self, repository: RepositoryPulls, last: str, limit: int) -> Sequence[TagPulls]:
        """Return figures of tags after ``last`` in ASCII order."""
        ...

    async def history(self, repository: RepositoryPulls, since: datetime) -> Sequence[Day]:
        """Return pulls by the day, the latest first; days without any are left out."""
        ...

    async def tag_history(self, repository: RepositoryPulls, tag: Tag, since: datetime) -> Sequence[Day]:
        """Return resolutions by the day, the latest first; days without any are left out."""
        ...

    async def traffic(self, registry: Registry, since: datetime) -> Sequence[Traffic]:
        """Return bytes by the hour, the latest first; hours without any are left out."""
        ...
