"""A registry of a few rows on which every change has something to do, and what must be so whatever has happened."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import orjson

from gateway.db.manifests import insert_references
from gateway.db.registries import RegistryRows
from gateway.model.access import Actor
from gateway.model.digest import Digest
from gateway.model.manifest import OCI_INDEX, OCI_MANIFEST, Manifest
from gateway.model.names import RepositoryName
from gateway.ports.directory import NewRegistry
from gateway.ports.metadata import BlobRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.db.pool import Connection, Database
    from gateway.ports.metadata import Registry

ACTOR = Actor(None, "alice", address="127.0.0.1")
STORAGE = "filesystem:/x"
APP, OTHER, GONE = (RepositoryName(name) for name in ("app", "other", "gone"))

_CONTENTS = {name: name.encode() for name in ("config", "layer", "loose", "dropped", "broken", "spare", "fresh")}


def _descriptor(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def _image(note: str, layer: str) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(_CONTENTS["config"], "application/vnd.oci.image.config.v1+json"),
        "layers": [_descriptor(_CONTENTS[layer], "application/vnd.oci.image.layer.v1.tar")],
        "annotations": {"note": note},
    }
    return Manifest.parse(orjson.dumps(document), OCI_MANIFEST)


def _index(*children: Manifest) -> Manifest:
    manifests = [_descriptor(child.raw, OCI_MANIFEST) for child in children]
    return Manifest.parse(orjson.dumps({"schemaVersion": 2, "manifests": manifests}), OCI_INDEX)


_IMAGES = {
    "one": _image("one", "layer"),
    "bare": _image("bare", "layer"),
    "two": _image("two", "spare"),
    "five": _image("five", "spare"),
    "four": _image("four", "layer"),
    "three": _image("three", "loose"),
}
MANIFESTS = {**_IMAGES, "index": _index(_IMAGES["one"], _IMAGES["bare"])}
DIGESTS = {
    **{name: Digest.of(content) for name, content in _CONTENTS.items()},
    **{name: Digest.of(manifest.raw) for name, manifest in MANIFESTS.items()},
}
_NAMES = {str(digest): name for name, digest in DIGESTS.items()}

# Each repository with what was deleted from it: a tag of "two", then the images "two", with its other tag, and "five";
# a tag of gone, then all of it.
_REPOSITORIES = """
WITH made AS (
    INSERT INTO repositories (registry_id, name, untagged_days, deleted_at)
    VALUES ($1, 'app', 30, NULL), ($1, 'gone', NULL, now() - interval '6 days')
    RETURNING id, name
), pulls AS (
    INSERT INTO repository_pulls (repository_id, registry_id) SELECT id, $1 FROM made
), deleted AS (
    INSERT INTO deletions (registry_id, repository_id, kind, tag, digest, deleted_at, deleted_by)
    SELECT $1, made.id, deletion.kind, deletion.tag, deletion.digest, now() - interval '6 days', 'bob'
    FROM made
    JOIN (
        VALUES (1, 'app', 'tag', 'early', $2), (2, 'app', 'manifest', NULL, $2),
               (3, 'gone', 'tag', 'old', $3), (4, 'gone', 'image', NULL, NULL)
    ) AS deletion (number, name, kind, tag, digest) ON deletion.name = made.name
    ORDER BY deletion.number
    RETURNING id, repository_id, tag
)
SELECT made.id, made.name, deleted.id AS deletion_id, deleted.tag
FROM made JOIN deleted ON deleted.repository_id = made.id
"""
_NAMESAKE = """
WITH made AS (
    INSERT INTO repositories (registry_id, name) VALUES ($1, $2) RETURNING id
)
INSERT INTO repository_pulls (repository_id, registry_id) SELECT id, $1 FROM made RETURNING repository_id
"""
_UNSETTLE = """
UPDATE repository_blobs SET unreferenced_since = NULL
FROM repositories WHERE repositories.id = repository_id AND registry_id = $1
"""
_WENT_WITH = "UPDATE repositories SET deletion_id = $2 WHERE id = $1"
_BLOBS = """
WITH made AS (
    INSERT INTO objects (registry_id, key, state, size)
    SELECT $1, $2 || name, 'live', size FROM unnest($3::text[], $4::bigint[]) AS content (name, size)
    RETURNING id, key
)
INSERT INTO blobs (registry_id, digest, size, object_id, withdrawn_at)
SELECT $1, digest, size, made.id, CASE name WHEN 'broken' THEN now() END
FROM unnest($3::text[], $4::bigint[], $5::text[]) AS content (name, size, digest)
JOIN made ON made.key = $2 || name
"""
# Those that no manifest needs have been so for two days; one was deleted six days ago.
_REPOSITORY_BLOBS = """
INSERT INTO repository_blobs (repository_id, blob_id, digest, unreferenced_since, deleted_at)
SELECT $2, blobs.id, blobs.digest,
       CASE WHEN blobs.digest = ANY($4::text[]) THEN now() - interval '2 days' END,
       CASE WHEN blobs.digest = $5 THEN now() - interval '6 days' END
FROM blobs
WHERE registry_id = $1 AND digest = ANY($3::text[])
"""
_MANIFEST = """
INSERT INTO manifests (repository_id, digest, media_type, kind, raw, created_at, deleted_at, deletion_id, platforms)
VALUES ($1, $2, $3, $4, $5, now() - interval '40 days',
        CASE WHEN $6::bigint IS NOT NULL THEN now() - interval '6 days' + make_interval(hours => $7) END, $6, '{}')
RETURNING id
"""
_TAG = """
INSERT INTO tags (repository_id, name, manifest_id, deleted_at, deletion_id)
VALUES ($1, $2, $3, CASE WHEN $4::bigint IS NOT NULL THEN now() - interval '6 days' END, $4)
"""
# Their processes have died; the time of one of them is over.
_SESSIONS = """
WITH targets AS (
    INSERT INTO objects (registry_id, key, session_id)
    SELECT $1, $2 || id, id FROM unnest($3::uuid[]) AS session (id)
    RETURNING id, session_id
)
INSERT INTO upload_sessions
    (id, registry_id, repository, algorithm, owner, epoch, lease_expires_at, target_id, expires_at)
SELECT session.id, $1, session.repository, 'sha256', 'dead', 1, now() - interval '1 minute', targets.id,
       now() + CASE WHEN session.expired THEN interval '0' ELSE interval '1 hour' END
FROM unnest($3::uuid[], $4::text[], $5::boolean[]) AS session (id, repository, expired)
JOIN targets ON targets.session_id = session.id
"""
_UPLOADS = (
    ("loose", APP),
    ("loose", OTHER),
    ("layer", GONE),
    ("broken", APP),
    ("broken", OTHER),
    ("fresh", APP),
    ("fresh", OTHER),
)
RESTING, EXPIRED = ("fresh", OTHER), ("fresh", APP)
"""Uploads that nobody works on; the time of the second is over."""

# What there is, as people name it.
_THINGS = """
WITH image AS (SELECT id, name FROM repositories WHERE registry_id = $1 AND deleted_at IS NULL)
SELECT image.name, 'manifest', digest FROM image JOIN manifests ON repository_id = image.id WHERE deleted_at IS NULL
UNION ALL
SELECT image.name, 'tag', tags.name FROM image JOIN tags ON repository_id = image.id WHERE deleted_at IS NULL
UNION ALL
SELECT image.name, 'blob', blobs.digest
FROM image JOIN repository_blobs ON repository_id = image.id JOIN blobs ON blobs.id = blob_id
WHERE deleted_at IS NULL AND withdrawn_at IS NULL
UNION ALL
SELECT repository, 'upload', id::text FROM upload_sessions WHERE registry_id = $1
"""
# What must never be, in words.
_WRONG = """
WITH image AS (SELECT id, name, deleted_at FROM repositories WHERE registry_id = $1),
living AS (
    SELECT manifests.id, manifests.repository_id, manifests.digest FROM image JOIN manifests ON repository_id = image.id
    WHERE manifests.deleted_at IS NULL
),
held AS (
    SELECT repository_blobs.repository_id, repository_blobs.digest, unreferenced_since
    FROM image JOIN repository_blobs ON repository_id = image.id WHERE repository_blobs.deleted_at IS NULL
)
SELECT 'a manifest needs what is not there: ' || child_digest
FROM living JOIN manifest_references AS reference ON reference.manifest_id = living.id
WHERE (living.repository_id, child_digest) NOT IN (SELECT repository_id, digest FROM held)
  AND (living.repository_id, child_digest) NOT IN (SELECT repository_id, digest FROM living)
UNION ALL
SELECT 'a blob that is needed counts as unreferenced: ' || held.digest
FROM living
JOIN manifest_references AS reference ON reference.manifest_id = living.id
JOIN held ON (held.repository_id, held.digest) = (living.repository_id, child_digest)
WHERE unreferenced_since IS NOT NULL
UNION ALL
SELECT 'a blob that nothing needs is kept for ever: ' || digest
FROM held
WHERE unreferenced_since IS NULL
  AND (repository_id, digest) NOT IN (
      SELECT reference.repository_id, child_digest
      FROM image JOIN manifest_references AS reference ON repository_id = image.id
  )
UNION ALL
SELECT 'a tag points at nothing: ' || tags.name
FROM image JOIN tags ON tags.repository_id = image.id
WHERE tags.deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM living WHERE living.id = manifest_id AND living.repository_id = image.id)
UNION ALL
SELECT 'something lives in a deleted image: ' || living.digest
FROM image JOIN living ON repository_id = image.id WHERE image.deleted_at IS NOT NULL
UNION ALL
SELECT 'a blob lies in an object that is ' || state || ': ' || digest
FROM blobs JOIN objects ON objects.id = object_id WHERE blobs.registry_id = $1 AND state <> 'live'
UNION ALL
SELECT 'an object is nobody''s: ' || key
FROM objects
WHERE registry_id = $1
  AND (state = 'live' AND NOT EXISTS (SELECT FROM blobs WHERE object_id = objects.id)
       OR state = 'writing' AND NOT EXISTS (SELECT FROM upload_sessions WHERE upload_sessions.id = session_id))
"""
_numbers = count(1)


@dataclass(frozen=True)
class Scene:
    """A registry of its own, and what has been prepared in it."""

    database: Database
    registry: Registry
    deletions: dict[str, int]
    """Of the image "two" in app, of the repository gone, and of one tag in each, which was deleted before."""
    uploads: dict[tuple[str, RepositoryName], UUID]

    def key(self, name: str) -> str:
        """Return the key of an object."""
        return f"{self.registry.public_id}/{name}"

    def uploaded(self, name: str, repository: RepositoryName) -> BlobRecord:
        """Return the blob that an upload comes to."""
        key = self.key(str(self.uploads[name, repository]))
        return BlobRecord(DIGESTS[name], len(_CONTENTS[name]), key)

    async def things(self) -> set[str]:
        """Return what there is."""
        uploads = {str(session): name for (name, _), session in self.uploads.items()}
        rows = await self.database.fetch(_THINGS, self.registry.id)
        return {f"{place}: {kind} {uploads.get(name) or _NAMES.get(name, name)}" for place, kind, name in rows}

    async def wrong(self) -> list[str]:
        """Return what must not be, and is."""
        return [row[0] for row in await self.database.fetch(_WRONG, self.registry.id)]


async def clear(database: Database) -> None:
    """Remove all scenes: nobody analyses the tables, and plans are for small ones."""
    await database.execute("TRUNCATE registries CASCADE")


async def new_scene(database: Database) -> Scene:
    """Make a registry with all that a scene has."""
    number = next(_numbers)
    new = NewRegistry(f"{number:032x}", 1, f"scene-{number}", STORAGE, f"scene-{number}")
    registry = (await RegistryRows(database).insert_registry(ACTOR, new)).registry
    uploads = {upload: uuid4() for upload in _UPLOADS}
    scene = Scene(database, registry, {}, uploads)
    async with database.connection() as connection, connection.transaction():
        await _store_blobs(connection, scene)
        rows = await connection.fetch(_REPOSITORIES, registry.id, str(DIGESTS["two"]), str(DIGESTS["four"]))
        scene.deletions.update({row["tag"] or row["name"]: row["deletion_id"] for row in rows})
        for repository_id, name in sorted({(row["id"], row["name"]) for row in rows}):
            await _fill(connection, scene, repository_id, name)
        await connection.execute(
            _SESSIONS,
            registry.id,
            scene.key(""),
            list(uploads.values()),
            [str(repository) for _, repository in uploads],
            [upload == EXPIRED for upload in uploads],
        )
    return scene


async def new_namesakes(database: Database) -> Scene:
    """Make a scene in which there is an image with the name of the deleted one again."""
    scene = await new_scene(database)
    async with database.connection() as connection, connection.transaction():
        repository_id = await connection.fetchval(_NAMESAKE, scene.registry.id, str(GONE))
        await _hold(connection, scene, repository_id, "config", "layer", "spare", unreferenced=["layer"])
        await _store(connection, repository_id, "two", "two", None)
    return scene


async def new_brought(database: Database) -> Scene:
    """Make a scene that was brought back from its bucket just now: nobody has found out what has no references."""
    scene = await new_scene(database)
    await database.execute(_UNSETTLE, scene.registry.id)
    return scene


async def _store_blobs(connection: Connection, scene: Scene) -> None:
    names = [name for name in _CONTENTS if name != "fresh"]
    sizes = [len(_CONTENTS[name]) for name in names]
    await connection.execute(_BLOBS, scene.registry.id, scene.key(""), names, sizes, _digests(names))


async def _fill(connection: Connection, scene: Scene, repository_id: int, name: str) -> None:
    deletion_id = scene.deletions[name]
    if name == "gone":
        await connection.execute(_WENT_WITH, repository_id, deletion_id)
        await _hold(connection, scene, repository_id, "config", "layer")
        manifest_id = await _store(connection, repository_id, "four", "four", deletion_id)
        await connection.execute(_TAG, repository_id, "old", manifest_id, scene.deletions["old"])
    else:
        held = "config", "layer", "loose", "dropped", "broken", "spare"
        await _hold(connection, scene, repository_id, *held, unreferenced=["loose", "broken"])
        await _store(connection, repository_id, "one", "one", None)
        await _store(connection, repository_id, "bare", None, None)
        manifest_id = await _store(connection, repository_id, "two", "two", deletion_id)
        await connection.execute(_TAG, repository_id, "early", manifest_id, scene.deletions["early"])
        await _store(connection, repository_id, "five", None, deletion_id, hours_later=1)


async def _hold(
    connection: Connection, scene: Scene, repository_id: int, *names: str, unreferenced: Sequence[str] = ()
) -> None:
    digests = _digests(names), _digests(unreferenced), str(DIGESTS["dropped"])
    await connection.execute(_REPOSITORY_BLOBS, scene.registry.id, repository_id, *digests)


async def _store(
    connection: Connection,
    repository_id: int,
    name: str,
    tag: str | None,
    deletion_id: int | None,
    hours_later: int = 0,
) -> int:
    manifest = MANIFESTS[name]
    values = repository_id, str(DIGESTS[name]), manifest.media_type, manifest.kind, manifest.raw, deletion_id
    manifest_id: int = await connection.fetchval(_MANIFEST, *values, hours_later)
    await insert_references(connection, manifest_id, repository_id, manifest)
    if tag is not None:
        await connection.execute(_TAG, repository_id, tag, manifest_id, deletion_id)
    return manifest_id


def _digests(names: Iterable[str]) -> list[str]:
    return [str(DIGESTS[name]) for name in names]
