"""Manifests, tags, and the lists made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.db.audit import as_json, note_in_audit
from gateway.db.pool import rows_of
from gateway.db.repositories import (
    ensure_repository,
    fetch_repository_id,
    lock_repository,
    note_deletion,
    touch_repository,
)
from gateway.db.statements import statement
from gateway.errors import ManifestBlobsUnknown, ManifestUnknown, RepositoryUnknown, StillReferenced, TagsProtected
from gateway.model.digest import Digest
from gateway.model.images import DeletedKind
from gateway.ports.access import AuditEntry
from gateway.ports.metadata import ManifestRecord, Referrer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.model.manifest import Manifest
    from gateway.model.names import Reference, RepositoryName, Tag
    from gateway.ports.metadata import Registry

_FETCH_MANIFESTS_BY_DIGEST = statement("fetch_manifests_by_digest")
_FETCH_MANIFESTS_BY_TAG = statement("fetch_manifests_by_tag")
_FETCH_MANIFEST_CONTENTS = statement("fetch_manifest_contents")
_LOCK_REFERENCED_BLOBS = statement("lock_referenced_blobs")
_LOCK_REFERENCED_MANIFESTS = statement("lock_referenced_manifests")
_UPSERT_MANIFEST = statement("upsert_manifest")
_INSERT_REFERENCES = statement("insert_references")
_MARK_BLOBS_REFERENCED = statement("mark_blobs_referenced")
_LOCK_MANIFEST = statement("lock_manifest")
_FETCH_PARENT = statement("fetch_parent")
_DELETE_MANIFEST = statement("delete_manifest")
_DELETE_TAGS_OF_MANIFEST = statement("delete_tags_of_manifest")
_FETCH_MANIFEST_DIGESTS = statement("fetch_manifest_digests")
_LIST_REFERRERS = statement("list_referrers")
_LIST_TAGS = statement("list_tags")
_UPSERT_TAGS = statement("upsert_tags")
_LOCK_TAG = statement("lock_tag")
_DELETE_TAG = statement("delete_tag")
_LIST_REPOSITORIES = statement("list_repositories")

# Contents have up to 4 MiB each, and a batch of them lies in memory whole.
_CONTENTS_AT_A_TIME = 8


class Manifests:
    """Implements ports.metadata.ManifestIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_digest = database.lanes.lookup(_FETCH_MANIFESTS_BY_DIGEST)
        self._by_tag = database.lanes.lookup(_FETCH_MANIFESTS_BY_TAG)
        self._contents = database.lanes.lookup(_FETCH_MANIFEST_CONTENTS, largest_batch=_CONTENTS_AT_A_TIME)

    async def fetch_manifest(
        self, registry: Registry, repository: RepositoryName, reference: Reference
    ) -> ManifestRecord:
        """See the port."""
        lookup = self._by_digest if isinstance(reference, Digest) else self._by_tag
        row = await lookup.find(registry.id, str(repository), str(reference))
        if row is None:
            raise _unknown(repository, reference)
        _, manifest_id, digest, media_type, size, kind, repository_id, tag_id, raw = row
        return ManifestRecord(manifest_id, Digest.parse(digest), media_type, size, kind, repository_id, tag_id, raw)

    async def fetch_manifest_content(self, manifest: ManifestRecord) -> bytes:
        """See the port."""
        row = await self._contents.find(manifest.id)
        if row is None:
            raise ManifestUnknown(f"manifest {manifest.digest} was purged a moment ago")
        raw: bytes = row["raw"]
        return raw

    async def put_manifest(
        self,
        registry: Registry,
        repository: RepositoryName,
        manifest: Manifest,
        digest: Digest,
        tags: Sequence[Tag],
        actor: Actor,
    ) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            repository_id = await ensure_repository(connection, registry, repository)
            await _check_references(connection, repository_id, manifest)
            manifest_id, is_new = await _store(connection, repository_id, manifest, digest, tags, actor)
            before: dict[str, str | None] = {}
            if tags:
                before = await _point_tags(connection, repository_id, tags, manifest_id, actor)
            elif is_new:
                await touch_repository(connection, repository_id)
            if is_new or tags:
                after = dict.fromkeys(before, str(digest))
                entry = AuditEntry(
                    "manifest.push",
                    f"{repository}@{digest}",
                    registry.id,
                    before=as_json({"tags": before}),
                    after=as_json({"tags": after}),
                )
                await note_in_audit(connection, actor, entry)

        await self._database.transact(work)

    async def delete_manifest(
        self, registry: Registry, repository: RepositoryName, digest: Digest, actor: Actor
    ) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            repository_id = await lock_repository(connection, registry, repository)
            manifest_id = await lock_living_manifest(connection, repository_id, digest)
            if repository_id is None or manifest_id is None:
                raise _unknown(repository, digest)
            parent = await connection.fetchval(_FETCH_PARENT, repository_id, str(digest))
            if parent is not None:
                raise StillReferenced(f"index {parent} lists this manifest: delete the index first")
            await delete_living_manifest(connection, registry, repository, repository_id, manifest_id, digest, actor)

        await self._database.transact(work)

    async def delete_tag(self, registry: Registry, repository: RepositoryName, tag: Tag, actor: Actor) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            repository_id = await lock_repository(connection, registry, repository)
            if repository_id is None:
                raise _unknown(repository, tag)
            await touch_repository(connection, repository_id)
            row = await connection.fetchrow(_LOCK_TAG, repository_id, str(tag))
            if row is None:
                raise _unknown(repository, tag)
            deletion_id = await note_deletion(
                connection, registry, repository_id, actor, DeletedKind.TAG, tag=str(tag), digest=row["digest"]
            )
            await connection.execute(_DELETE_TAG, row["id"], deletion_id)
            before = as_json({"digest": row["digest"]})
            entry = AuditEntry("tag.delete", f"{repository}:{tag}", registry.id, before=before)
            await note_in_audit(connection, actor, entry)

        await self._database.transact(work)

    async def list_tags(self, registry: Registry, repository: RepositoryName, last: str, limit: int) -> list[str]:
        """See the port."""
        repository_id = await fetch_repository_id(self._database, registry, repository)
        if repository_id is None:
            raise RepositoryUnknown(f"there is no repository {repository}")
        return [row["name"] for row in await self._database.fetch(_LIST_TAGS, repository_id, last, limit)]

    async def list_repositories(self, registry: Registry, last: str, limit: int) -> list[str]:
        """See the port."""
        return [row["name"] for row in await self._database.fetch(_LIST_REPOSITORIES, registry.id, last, limit)]

    async def list_referrers(
        self,
        registry: Registry,
        repository: RepositoryName,
        subject: Digest,
        artifact_types: Sequence[str],
        last: str,
        limit: int,
        most_bytes: int,
    ) -> list[Referrer]:
        """See the port."""
        rows = await self._database.fetch(
            _LIST_REFERRERS, registry.id, str(repository), str(subject), list(artifact_types), last, limit, most_bytes
        )
        return [
            Referrer(
                row["digest"], row["media_type"], row["size"], row["artifact_type"], row["annotations"].encode("utf-8")
            )
            for row in rows
        ]


async def lock_living_manifest(connection: Connection, repository_id: int | None, digest: Digest) -> int | None:
    """Lock a living manifest of a repository against pushes and deletions, and return its id."""
    found: int | None = await connection.fetchval(_LOCK_MANIFEST, repository_id, str(digest))
    return found


async def delete_living_manifest(
    connection: Connection,
    registry: Registry,
    repository: RepositoryName,
    repository_id: int,
    manifest_id: int,
    digest: Digest,
    actor: Actor,
) -> None:
    """Delete a locked manifest with its tags, so that it can be restored, inside of the caller's transaction."""
    await touch_repository(connection, repository_id)
    deletion_id = await note_deletion(
        connection, registry, repository_id, actor, DeletedKind.MANIFEST, digest=str(digest)
    )
    await connection.execute(_DELETE_MANIFEST, manifest_id, deletion_id)
    tags = await connection.fetch(_DELETE_TAGS_OF_MANIFEST, manifest_id, deletion_id)
    before = as_json({"tags": sorted(tag["name"] for tag in tags)})
    entry = AuditEntry("manifest.delete", f"{repository}@{digest}", registry.id, before=before)
    await note_in_audit(connection, actor, entry)


async def lock_children(connection: Connection, repository_id: int, digests: Sequence[str]) -> set[str]:
    """Lock living manifests so that they are not deleted, and return which of the digests are theirs."""
    rows = await connection.fetch(_LOCK_REFERENCED_MANIFESTS, repository_id, digests)
    return {row["digest"] for row in rows}


async def mark_referenced(connection: Connection, repository_id: int, digests: Sequence[str]) -> None:
    """Note that a manifest refers to blobs."""
    await connection.execute(_MARK_BLOBS_REFERENCED, repository_id, digests)


async def insert_references(
    connection: Connection, manifest_id: int, repository_id: int, manifest: Manifest
) -> list[str]:
    """Write down what a manifest refers to, and return the digests."""
    references = [(str(manifest.config.digest), "config")] if manifest.config else []
    references += [(str(layer.digest), "layer") for layer in manifest.layers]
    references += [(str(child.digest), "child") for child in manifest.children]
    await connection.execute(_INSERT_REFERENCES, manifest_id, repository_id, *rows_of(references, 2))
    return [digest for digest, _ in references]


async def _check_references(connection: Connection, repository_id: int, manifest: Manifest) -> None:
    """Lock what the manifest refers to, and raise ManifestBlobsUnknown for what could not be locked.

    Only what is locked counts as present: the locks hold off deletions until the references are committed. A lock
    that had to wait may miss a row that has come in place of a deleted one, hence the second look.
    """
    blobs = [str(digest) for digest in manifest.blobs]
    children = [str(child.digest) for child in manifest.children]
    wanted = dict.fromkeys((*blobs, *children))
    missing: list[str] = []
    for _ in range(2):
        rows = await connection.fetch(_LOCK_REFERENCED_BLOBS, repository_id, [*_locked(manifest), *children])
        present = {row["digest"] for row in rows}
        if children:
            present |= await lock_children(connection, repository_id, children)
        missing = [digest for digest in wanted if digest not in present]
        if not missing:
            return
    raise ManifestBlobsUnknown(missing)


def _locked(manifest: Manifest) -> list[str]:
    """Digests of all blobs, those included that need not have been pushed but may have been."""
    config = () if manifest.config is None else (manifest.config,)
    return [str(descriptor.digest) for descriptor in (*config, *manifest.layers)]


async def _store(
    connection: Connection, repository_id: int, manifest: Manifest, digest: Digest, tags: Sequence[Tag], actor: Actor
) -> tuple[int, bool]:
    """Store a manifest and what it refers to; return its id, and whether it was not there before."""
    row = await connection.fetchrow(
        _UPSERT_MANIFEST,
        repository_id,
        str(digest),
        manifest.media_type,
        manifest.kind,
        manifest.raw,
        str(manifest.subject) if manifest.subject else None,
        manifest.artifact_type,
        orjson.dumps(manifest.annotations).decode("utf-8"),
        actor.account,
        manifest.platforms,
        bool(tags),
    )
    assert row is not None
    await mark_referenced(
        connection, repository_id, await insert_references(connection, row["id"], repository_id, manifest)
    )
    return row["id"], row["is_new"]


async def _point_tags(
    connection: Connection, repository_id: int, tags: Sequence[Tag], manifest_id: int, actor: Actor
) -> dict[str, str | None]:
    """Point tags at a manifest, and return the digests that they pointed at before; raise TagsProtected."""
    names = sorted({str(tag) for tag in tags})
    rows = await connection.fetch(_UPSERT_TAGS, repository_id, names, manifest_id, actor.account)
    replaced = {row["name"]: row["replaced_manifest_id"] for row in rows}
    refused = [name for name in names if name not in replaced]
    if refused:
        raise TagsProtected(refused)
    digests = await _digests(connection, [each for each in replaced.values() if each is not None])
    return {name: digests.get(replaced[name]) for name in names}


async def _digests(connection: Connection, manifest_ids: Sequence[int]) -> dict[int, str]:
    if not manifest_ids:
        return {}
    rows = await connection.fetch(_FETCH_MANIFEST_DIGESTS, manifest_ids)
    return {row["id"]: row["digest"] for row in rows}


def _unknown(repository: RepositoryName, reference: Reference) -> ManifestUnknown:
    kind = "manifest" if isinstance(reference, Digest) else "tag"
    return ManifestUnknown(f"repository {repository} has no {kind} {reference}")
