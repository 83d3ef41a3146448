"""Reports about pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement
from gateway.errors import RepositoryUnknown
from gateway.ports.pulls import Day, RepositoryPulls, TagPulls, Traffic

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.db.pool import Database
    from gateway.model.names import RepositoryName, Tag
    from gateway.ports.metadata import Registry

_LIST_REPOSITORY_PULLS = statement("list_repository_pulls")
_FETCH_REPOSITORY_PULLS = statement("fetch_repository_pulls")
_LIST_TAG_PULLS = statement("list_tag_pulls")
_LIST_PULL_HISTORY = statement("list_pull_history")
_LIST_RESOLUTION_HISTORY = statement("list_resolution_history")
_LIST_TRAFFIC_HISTORY = statement("list_traffic_history")

_MORE_THAN_ANY = 2**63 - 1


class PullReports:
    """Implements ports.pulls.PullReports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def top_repositories(
        self, registry: Registry, limit: int, after: RepositoryPulls | None = None
    ) -> list[RepositoryPulls]:
        """See the port."""
        pulls, last_id = (after.pulls, after.repository_id) if after else (_MORE_THAN_ANY, 0)
        rows = await self._database.fetch(_LIST_REPOSITORY_PULLS, registry.id, pulls, last_id, limit)
        return [RepositoryPulls(**row) for row in rows]

    async def repository(self, registry: Registry, repository: RepositoryName) -> RepositoryPulls:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_REPOSITORY_PULLS, registry.id, str(repository))
        if row is None:
            raise RepositoryUnknown(f"there is no repository {repository}")
        return RepositoryPulls(**row)

    async def tags(self, repository: RepositoryPulls, last: str, limit: int) -> list[TagPulls]:
        """See the port."""
        rows = await self._database.fetch(_LIST_TAG_PULLS, repository.repository_id, last, limit)
        return [TagPulls(**row) for row in rows]

    async def history(self, repository: RepositoryPulls, since: datetime) -> list[Day]:
        """See the port."""
        rows = await self._database.fetch(_LIST_PULL_HISTORY, repository.repository_id, since)
        return [Day(**row) for row in rows]

    async def tag_history(self, repository: RepositoryPulls, tag: Tag, since: datetime) -> list[Day]:
        """See the port."""
        rows = await self._database.fetch(_LIST_RESOLUTION_HISTORY, repository.repository_id, str(tag), since)
        return [Day(**row) for row in rows]

    async def traffic(self, registry: Registry, since: datetime) -> list[Traffic]:
        """See the port."""
        rows = await self._database.fetch(_LIST_TRAFFIC_HISTORY, registry.id, since)
        return [Traffic(**row) for row in rows]
