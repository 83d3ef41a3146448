"""Repositories: made by their first blob or manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement

if TYPE_CHECKING:
    from gateway.db.pool import Connection, Database
    from gateway.model.names import RepositoryName
    from gateway.ports.metadata import Registry

_FETCH_REPOSITORY_ID = statement("fetch_repository_id")
_INSERT_REPOSITORY = statement("insert_repository")


async def fetch_repository_id(
    connection: Connection | Database, registry: Registry, repository: RepositoryName
) -> int | None:
    """Return the id of a living repository."""
    row = await connection.fetchrow(_FETCH_REPOSITORY_ID, registry.id, str(repository))
    return None if row is None else row["id"]


async def ensure_repository(connection: Connection, registry: Registry, repository: RepositoryName) -> int:
    """Return the id of a repository, creating it if needed, inside of the caller's transaction."""
    while True:
        found = await fetch_repository_id(connection, registry, repository)
        if found is not None:
            return found
        # Somebody else may insert it first, and (rarely) delete it before it is read again: hence the loop.
        await connection.execute(_INSERT_REPOSITORY, registry.id, str(repository))
