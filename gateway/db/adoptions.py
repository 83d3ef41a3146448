"""What is left in the database of registries that are taken over from their buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement
from gateway.ports.metadata import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.db.pool import Connection, Database

_FIND_FORMER_REGISTRY = statement("find_former_registry")
_LIST_FORMER_REGISTRIES = statement("list_former_registries")
_PAGE_REPOSITORIES_OF_REGISTRY = statement("page_repositories_of_registry")
_FORGET_TAGS = statement("forget_tags")
_FORGET_MANIFESTS = statement("forget_manifests")
_FORGET_REPOSITORY_BLOBS = statement("forget_repository_blobs")
_FORGET_DELETIONS = statement("forget_deletions")
_FORGET_REPOSITORY_PULLS = statement("forget_repository_pulls")
_FORGET_REPOSITORY = statement("forget_repository")
_FORGET_BLOBS = statement("forget_blobs")
_INHERIT_REMOVING_OBJECTS = statement("inherit_removing_objects")
_FORGET_SEGMENTS = statement("forget_segments")
_FORGET_CATALOGUE_STATE = statement("forget_catalogue_state")
_FORGET_CHANGES = statement("forget_changes")
_FORGET_STAGING = statement("forget_staging")
_RETIRE_CATALOGUE_KEYS = statement("retire_catalogue_keys")

# What belongs to a repository, each before what it refers to.
_CONTENTS = (
    _FORGET_TAGS,
    _FORGET_MANIFESTS,
    _FORGET_REPOSITORY_BLOBS,
    _FORGET_DELETIONS,
    _FORGET_REPOSITORY_PULLS,
    _FORGET_REPOSITORY,
)
_REPOSITORIES = 100
_BLOBS = 1000


class Adoptions:
    """Implements ports.catalogue.AdoptionIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_former(self, public_id: str, storage: str, bucket: str, generation: int) -> Registry | None:
        """See the port."""
        row = await self._database.fetchrow(_FIND_FORMER_REGISTRY, public_id, storage, bucket, generation)
        return None if row is None else Registry(**row)

    async def forget_former(self, registry: Registry) -> None:
        """See the port."""
        for former in await self._database.fetch(_LIST_FORMER_REGISTRIES, registry.public_id, registry.id):
            await self._forget(former["id"])

    async def inherit(self, registry: Registry) -> None:
        """See the port."""
        for former in await self._database.fetch(_LIST_FORMER_REGISTRIES, registry.public_id, registry.id):
            await self._database.execute(_INHERIT_REMOVING_OBJECTS, former["id"], registry.id)

    async def retire(self, registry: Registry, keys: Sequence[str]) -> None:
        """See the port."""
        await self._database.execute(_RETIRE_CATALOGUE_KEYS, registry.id, keys)

    async def _forget(self, former_id: int) -> None:
        while rows := await self._database.fetch(_PAGE_REPOSITORIES_OF_REGISTRY, former_id, _REPOSITORIES):
            for row in rows:
                await self._forget_repository(row["id"])
        while await self._database.fetch(_FORGET_BLOBS, former_id, _BLOBS):
            pass
        for forget in (_FORGET_SEGMENTS, _FORGET_CATALOGUE_STATE, _FORGET_CHANGES, _FORGET_STAGING):
            await self._database.execute(forget, former_id)

    async def _forget_repository(self, repository_id: int) -> None:
        async def work(connection: Connection) -> None:
            for forget in _CONTENTS:
                await connection.execute(forget, repository_id)

        await self._database.transact(work)
