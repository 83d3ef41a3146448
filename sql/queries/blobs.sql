-- name: fetch_blobs
-- Many lookups in one statement (db/coalesce.py): at most one row for each place in the arrays.
SELECT wanted.place, blobs.size, objects.key,
       extract(epoch FROM now() - repository_blobs.unreferenced_since)::float8 AS unreferenced_for
FROM unnest($1::bigint[], $2::text[], $3::text[])
    WITH ORDINALITY AS wanted (registry_id, repository, digest, place)
JOIN repositories ON repositories.registry_id = wanted.registry_id AND repositories.name = wanted.repository
JOIN repository_blobs ON repository_blobs.repository_id = repositories.id AND repository_blobs.digest = wanted.digest
JOIN blobs ON blobs.id = repository_blobs.blob_id
JOIN objects ON objects.id = blobs.object_id
WHERE repositories.deleted_at IS NULL
  AND repository_blobs.deleted_at IS NULL
  AND blobs.withdrawn_at IS NULL;

-- name: find_mount_source
-- Any repository of the registry that has the blob; the target itself before all others.
SELECT repositories.name
FROM repositories
JOIN repository_blobs ON repository_blobs.repository_id = repositories.id
JOIN blobs ON blobs.id = repository_blobs.blob_id
WHERE repositories.registry_id = $1
  AND repositories.deleted_at IS NULL
  AND repository_blobs.digest = $2
  AND repository_blobs.deleted_at IS NULL
  AND blobs.withdrawn_at IS NULL
ORDER BY repositories.name <> $3, repository_blobs.id
LIMIT 1;

-- name: lock_mount
-- Source and target, so that nothing removes the blob before the mount is committed; in the order of their ids, so
-- that mounts in opposite directions do not wait for each other.
SELECT repository_blobs.blob_id, repositories.name
FROM repositories
JOIN repository_blobs ON repository_blobs.repository_id = repositories.id
JOIN blobs ON blobs.id = repository_blobs.blob_id
WHERE repositories.registry_id = $1
  AND repositories.name = ANY($2::text[])
  AND repositories.deleted_at IS NULL
  AND repository_blobs.digest = $3
  AND repository_blobs.deleted_at IS NULL
  AND blobs.withdrawn_at IS NULL
ORDER BY repository_blobs.id
FOR UPDATE OF repository_blobs;

-- name: upsert_repository_blob
-- A client that is told of a blob will refer to it soon: the time without references starts anew. A blob that a living
-- manifest refers to already (a foreign layer that was not pushed at first) is not without references. Deleted manifests
-- may be purged at this moment; if not, the collector finds them.
INSERT INTO repository_blobs (repository_id, blob_id, digest, unreferenced_since)
VALUES (
    $1, $2, $3,
    CASE WHEN EXISTS (
             SELECT
             FROM manifest_references
             JOIN manifests ON manifests.id = manifest_references.manifest_id
             WHERE manifest_references.repository_id = $1
               AND manifest_references.child_digest = $3
               AND manifests.deleted_at IS NULL
         ) THEN NULL
         ELSE now() END
)
ON CONFLICT (repository_id, digest) WHERE deleted_at IS NULL
DO UPDATE SET unreferenced_since =
    CASE WHEN repository_blobs.unreferenced_since IS NULL THEN NULL ELSE now() END;

-- name: lock_repository_blob
SELECT repository_blobs.id, repository_blobs.repository_id
FROM repositories
JOIN repository_blobs ON repository_blobs.repository_id = repositories.id
WHERE repositories.registry_id = $1
  AND repositories.name = $2
  AND repositories.deleted_at IS NULL
  AND repository_blobs.digest = $3
  AND repository_blobs.deleted_at IS NULL
FOR UPDATE OF repository_blobs;

-- name: promise_blob
-- Waits for whoever drops it at this moment, and then finds nothing.
UPDATE repository_blobs
SET unreferenced_since = CASE WHEN unreferenced_since IS NULL THEN NULL ELSE now() END
FROM repositories
WHERE repositories.id = repository_blobs.repository_id
  AND repositories.registry_id = $1
  AND repositories.name = $2
  AND repositories.deleted_at IS NULL
  AND repository_blobs.digest = $3
  AND repository_blobs.deleted_at IS NULL
RETURNING repository_blobs.id;

-- name: fetch_blob_referrer
-- A living manifest of the repository that needs the blob.
SELECT manifests.digest
FROM manifest_references
JOIN manifests ON manifests.id = manifest_references.manifest_id
WHERE manifest_references.repository_id = $1
  AND manifest_references.child_digest = $2
  AND manifests.deleted_at IS NULL
LIMIT 1;

-- name: delete_repository_blob
UPDATE repository_blobs
SET deleted_at = now()
WHERE id = $1;

-- name: insert_blob
INSERT INTO blobs (registry_id, digest, size, object_id)
SELECT $1, $2, $3, objects.id FROM objects WHERE objects.key = $4
ON CONFLICT (registry_id, digest) DO NOTHING
RETURNING id;

-- name: mend_blob
-- A blob that was withdrawn gets the object that has just been pushed, wherever it is held; the old one is removed.
WITH withdrawn AS (
    SELECT id, object_id
    FROM blobs
    WHERE registry_id = $1 AND digest = $2 AND withdrawn_at IS NOT NULL
    FOR UPDATE
), retired AS (
    UPDATE objects
    SET state = 'removing'
    FROM withdrawn
    WHERE objects.id = withdrawn.object_id
)
UPDATE blobs
SET object_id = objects.id, size = $3, withdrawn_at = NULL
FROM withdrawn, objects
WHERE blobs.id = withdrawn.id AND objects.key = $4
RETURNING blobs.id;

-- name: lock_blob
SELECT id
FROM blobs
WHERE registry_id = $1 AND digest = $2 AND withdrawn_at IS NULL
FOR SHARE;
