"""Why a digest is kept: chains from a tag, a deletion or a date down to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement
from gateway.model.collection import Link, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    import asyncpg

    from gateway.db.pool import Database
    from gateway.model.collection import Keeping
    from gateway.model.digest import Digest
    from gateway.ports.metadata import Registry

    Chain = tuple[tuple[Link, ...], datetime | None]

_FIND_PLACES_OF_DIGEST = statement("find_places_of_digest")
_FETCH_NEEDING_MANIFESTS = statement("fetch_needing_manifests")
_EXPLAIN_MANIFEST = statement("explain_manifest")

_MOST_PLACES = 100
_MOST_EACH = 5
"""Of the manifests that need something, and of the tags of one: the others would say the same."""


class Explaining:
    """Says why digests are kept."""

    def __init__(self, database: Database, keeping: Keeping) -> None:
        self._database = database
        self._keeping = keeping

    async def explain(self, registries: Sequence[Registry], digest: Digest) -> list[Reason]:
        """Return what keeps a digest in each repository that has it, a few reasons each; none where nothing has it."""
        ids = [each.id for each in registries]
        places = await self._database.fetch(_FIND_PLACES_OF_DIGEST, ids, str(digest), _MOST_PLACES)
        return [
            Reason(place["registry"], place["repository"], links, until)
            for place in places
            for links, until in await self._chains(place, str(digest))
        ]

    async def _chains(self, place: asyncpg.Record, digest: str) -> list[Chain]:
        chains: list[Chain] = []
        if place["manifest_id"] is not None:
            chains += await self._of_manifest(place["manifest_id"])
        if place["is_blob"]:
            blob = (Link("blob", digest),)
            needed = await self._needed(place["repository_id"], digest)
            chains += [((*links, *blob), until) for links, until in needed or [self._by_itself(place)]]
        return chains

    async def _needed(self, repository_id: int, digest: str) -> list[Chain]:
        rows = await self._database.fetch(_FETCH_NEEDING_MANIFESTS, repository_id, digest, _MOST_EACH)
        return [chain for row in rows for chain in await self._of_manifest(row["id"])]

    async def _of_manifest(self, manifest_id: int) -> list[Chain]:
        """Return the chains down to a manifest."""
        row = await self._database.fetchrow(_EXPLAIN_MANIFEST, manifest_id, _MOST_EACH)
        if row is None:
            return []
        own = (Link(row["kind"], row["digest"]),)
        if row["deleted_at"] is not None:
            return [((_deletion(row), *own), row["deleted_at"] + self._keeping.restore)]
        if row["tags"]:
            return [((Link("tag", name), *own), None) for name in row["tags"]]
        above = await self._needed(row["repository_id"], row["digest"])
        if row["subject_id"] is not None:
            above += await self._of_manifest(row["subject_id"])
        return [((*links, *own), until) for links, until in above] or [_untagged(row, own)]

    def _by_itself(self, place: asyncpg.Record) -> Chain:
        """Say what becomes of a blob that no manifest needs."""
        since: datetime | None = place["deleted_at"] or place["unreferenced_since"]
        kept: timedelta = self._keeping.restore if place["deleted_at"] else self._keeping.grace
        said = "the blob was deleted" if place["deleted_at"] else "no manifest has needed it since it was last pushed"
        return (Link("deletion" if place["deleted_at"] else "grace", said),), since + kept if since else None


def _untagged(row: asyncpg.Record, own: tuple[Link, ...]) -> Chain:
    until: datetime | None = row["untagged_until"]
    said = "manifests without a tag are kept" + (" for a while" if until else "")
    return (Link("untagged", said), *own), until


def _deletion(row: asyncpg.Record) -> Link:
    if row["deletion_id"] is None:
        return Link("deletion", "deleted by an older version: it cannot be restored")
    return Link("deletion", f"{row['deletion_kind']} deleted by {row['deleted_by']}, number {row['deletion_id']}")
