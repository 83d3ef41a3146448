"""Bringing back what was deleted, inside of the transaction that notes it.

Locks are taken in the order of all changes: images, blobs in digest order, manifests, the image's row as changed, tags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.db.manifests import lock_children, mark_referenced
from gateway.db.repositories import touch_repository
from gateway.db.statements import statement
from gateway.errors import CannotRestore
from gateway.model.images import DeletedKind, RestoreOutcome
from gateway.model.manifest import Manifest
from gateway.ports.images import Restored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from gateway.db.pool import Connection
    from gateway.ports.metadata import Registry

_LIST_TAGS_OF_DELETION = statement("list_tags_of_deletion")
_LOCK_LIVING_REPOSITORY = statement("lock_living_repository")
_LOCK_NAMESAKES = statement("lock_namesakes")
_REVIVE_REPOSITORY = statement("revive_repository")
_LOCK_BLOBS_OF_REPOSITORIES = statement("lock_blobs_of_repositories")
_MOVE_REPOSITORY_BLOBS = statement("move_repository_blobs")
_DROP_REPOSITORY_BLOBS = statement("drop_repository_blobs")
_MOVE_MANIFESTS = statement("move_manifests")
_MOVE_REFERENCES = statement("move_references")
_MOVE_TAGS = statement("move_tags")
_MOVE_DELETIONS = statement("move_deletions")
_MOVE_REPOSITORY_PULLS = statement("move_repository_pulls")
_MOVE_PULL_HISTORY = statement("move_pull_history")
_FIND_REVIVALS = statement("find_revivals")
_FETCH_REFERENCES = statement("fetch_references")
_LOCK_RESTORABLE_BLOBS = statement("lock_restorable_blobs")
_FETCH_RESTORABLE_BLOBS = statement("fetch_restorable_blobs")
_FETCH_MANIFESTS_IN_NEED = statement("fetch_manifests_in_need")
_REVIVE_BLOBS = statement("revive_blobs")
_REVIVE_MANIFESTS = statement("revive_manifests")
_REVIVE_TAGS = statement("revive_tags")

# What belongs to a repository and moves with it, in the order in which it is locked.
_MOVES = (
    _MOVE_REPOSITORY_BLOBS,
    _MOVE_MANIFESTS,
    _MOVE_REFERENCES,
    _MOVE_TAGS,
    _MOVE_DELETIONS,
    _MOVE_REPOSITORY_PULLS,
    _MOVE_PULL_HISTORY,
)


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deletion that is to be undone; its row is locked."""

    id: int
    repository_id: int
    kind: DeletedKind
    image: str
    tag: str | None
    digest: str | None


async def lock_blobs_of(connection: Connection, repository_ids: Sequence[int]) -> None:
    """Lock everything that repositories have, by the locking rule of references."""
    await connection.execute(_LOCK_BLOBS_OF_REPOSITORIES, repository_ids)


async def list_tags_of(connection: Connection, deletion_id: int) -> list[str]:
    """Return the names of the tags that went with a deletion."""
    return [row["name"] for row in await connection.fetch(_LIST_TAGS_OF_DELETION, deletion_id)]


async def restore(connection: Connection, registry: Registry, deleted: Deleted) -> Restored:
    """Bring back everything that went with a deletion, and what it needs; raise CannotRestore.

    A name that is taken meanwhile, by a tag or by an image, is left to whoever has it.
    """
    home, has_joined = await _home(connection, registry, deleted)
    await _revive_manifests(connection, home, deleted.id)
    await touch_repository(connection, home)
    wanted = await list_tags_of(connection, deleted.id)
    returned = {row["name"] for row in await connection.fetch(_REVIVE_TAGS, deleted.id, home)}
    outcome = RestoreOutcome.JOINED if has_joined else RestoreOutcome.RESTORED
    if deleted.kind is not DeletedKind.IMAGE and wanted and not returned:
        outcome = RestoreOutcome.UNTAGGED
    left_out = tuple(name for name in wanted if name not in returned)
    return Restored(outcome, deleted.kind, deleted.image, deleted.tag, deleted.digest, left_out)


async def _home(connection: Connection, registry: Registry, deleted: Deleted) -> tuple[int, bool]:
    """Return the living repository in which everything comes back, and whether another one was joined for it."""
    if deleted.kind is not DeletedKind.IMAGE:
        if await connection.fetchval(_LOCK_LIVING_REPOSITORY, deleted.repository_id) is None:
            raise CannotRestore(f"the image {deleted.image} is deleted itself: restore the image first")
        return deleted.repository_id, False
    rows = await connection.fetch(_LOCK_NAMESAKES, registry.id, deleted.image, deleted.repository_id)
    await lock_blobs_of(connection, [row["id"] for row in rows])
    living = next((row["id"] for row in rows if row["is_alive"]), None)
    if living is None:
        await connection.execute(_REVIVE_REPOSITORY, deleted.repository_id)
        return deleted.repository_id, False
    for move in _MOVES:
        await connection.execute(move, deleted.repository_id, living)
    await connection.execute(_DROP_REPOSITORY_BLOBS, deleted.repository_id)
    return living, True


async def _revive_manifests(connection: Connection, repository_id: int, deletion_id: int) -> None:
    """Revive the manifests of a deletion, and whatever they refer to; raise CannotRestore."""
    manifests = await connection.fetch(_FIND_REVIVALS, repository_id, deletion_id)
    ids = [row["id"] for row in manifests]
    references = await connection.fetch(_FETCH_REFERENCES, ids)
    digests = sorted({row["digest"] for row in references})
    await connection.execute(_LOCK_RESTORABLE_BLOBS, repository_id, digests)
    blobs = await connection.fetch(_FETCH_RESTORABLE_BLOBS, repository_id, digests)
    children = sorted({row["digest"] for row in references if row["kind"] == "child"})
    present = await lock_children(connection, repository_id, children)
    present |= {row["digest"] for row in (*manifests, *blobs)}
    await _refuse_missing(connection, ids, set(digests) - present)
    await connection.execute(_REVIVE_BLOBS, [row["id"] for row in blobs if not row["is_alive"]])
    await mark_referenced(connection, repository_id, digests)
    if len(await connection.fetch(_REVIVE_MANIFESTS, ids)) < len(ids):
        raise CannotRestore("it cannot be restored: its time was over a moment ago")


async def _refuse_missing(connection: Connection, manifest_ids: Sequence[int], missing: AbstractSet[str]) -> None:
    """Raise CannotRestore for what is gone; layers that clients do not push need not have been there."""
    if not missing:
        return
    for row in await connection.fetch(_FETCH_MANIFESTS_IN_NEED, manifest_ids, sorted(missing)):
        manifest = Manifest.parse(row["raw"], row["media_type"])
        for needed in (*manifest.blobs, *(child.digest for child in manifest.children)):
            if str(needed) in missing:
                raise CannotRestore(f"it cannot be restored: {needed}, which it needs, is gone for good")
