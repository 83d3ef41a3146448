"""Repositories: made by their first blob or manifest, and what every change of one has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement

if TYPE_CHECKING:
    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.model.images import DeletedKind
    from gateway.model.names import RepositoryName
    from gateway.ports.metadata import Registry

_FETCH_REPOSITORY_ID = statement("fetch_repository_id")
_LOCK_REPOSITORY = statement("lock_repository")
_TOUCH_REPOSITORY = statement("touch_repository")
_INSERT_DELETION = statement("insert_deletion")
_INSERT_REPOSITORY = statement("insert_repository")


async def fetch_repository_id(
    connection: Connection | Database, registry: Registry, repository: RepositoryName
) -> int | None:
    """Return the id of a living repository."""
    row = await connection.fetchrow(_FETCH_REPOSITORY_ID, registry.id, str(repository))
    return None if row is None else row["id"]


async def lock_repository(connection: Connection, registry: Registry, repository: RepositoryName) -> int | None:
    """Return the id of a living repository, which stays alive until the caller's transaction ends."""
    found: int | None = await connection.fetchval(_LOCK_REPOSITORY, registry.id, str(repository))
    return found


async def ensure_repository(connection: Connection, registry: Registry, repository: RepositoryName) -> int:
    """Return the id of a repository, as lock_repository does, creating it if needed."""
    while True:
        found = await lock_repository(connection, registry, repository)
        if found is not None:
            return found
        # Somebody else may insert it first, and (rarely) delete it before it is read again: hence the loop.
        await connection.execute(_INSERT_REPOSITORY, registry.id, str(repository))


async def touch_repository(connection: Connection, repository_id: int) -> None:
    """Note that a repository has changed, and lock it against other changes of its tags."""
    await connection.execute(_TOUCH_REPOSITORY, repository_id)


async def note_deletion(
    connection: Connection,
    registry: Registry,
    repository_id: int,
    actor: Actor,
    kind: DeletedKind,
    *,
    tag: str | None = None,
    digest: str | None = None,
) -> int:
    """Make a deletion, so that it can be undone, and return its id for the rows that go with it."""
    made: int = await connection.fetchval(
        _INSERT_DELETION, registry.id, repository_id, kind, tag, digest, actor.account
    )
    return made
