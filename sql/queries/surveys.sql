-- name: list_object_rows
-- In the order of keys, as the storage lists them: those behind $1 and before $2.
SELECT objects.key, blobs.digest, objects.size, objects.multipart_id, objects.is_damaged,
       blobs.withdrawn_at IS NOT NULL AS is_withdrawn
FROM objects
LEFT JOIN blobs ON blobs.object_id = objects.id
WHERE objects.key > $1 AND objects.key < $2
ORDER BY objects.key
LIMIT $3;

-- name: fetch_object_rows
SELECT objects.key, blobs.digest, objects.size, objects.multipart_id, objects.is_damaged,
       blobs.withdrawn_at IS NOT NULL AS is_withdrawn
FROM objects
LEFT JOIN blobs ON blobs.object_id = objects.id
WHERE objects.key = ANY($1::text[]);

-- name: count_objects
SELECT count(*)
FROM objects
WHERE key > $1 AND key < $2;

-- name: begin_verification
INSERT INTO verifications (registry_id)
VALUES ($1)
ON CONFLICT (registry_id) DO UPDATE SET registry_id = excluded.registry_id
RETURNING begun_at;

-- name: sum_verification
SELECT coalesce(sum(blobs.size), 0)::bigint AS size,
       coalesce(sum(blobs.size) FILTER (WHERE objects.verified_at >= $2), 0)::bigint AS verified
FROM blobs
JOIN objects ON objects.id = blobs.object_id
WHERE blobs.registry_id = $1;

-- name: list_unverified
SELECT objects.key, blobs.digest, objects.size, objects.multipart_id, objects.is_damaged,
       blobs.withdrawn_at IS NOT NULL AS is_withdrawn
FROM objects
JOIN blobs ON blobs.object_id = objects.id
WHERE objects.key > $1 AND objects.key < $2
  AND (objects.verified_at IS NULL OR objects.verified_at < $3)
ORDER BY objects.key
LIMIT $4;

-- name: record_verified
UPDATE objects
SET verified_at = now(), is_damaged = $2
WHERE key = $1 AND state = 'live';

-- name: end_verification
DELETE FROM verifications
WHERE registry_id = $1 AND begun_at = $2;

-- name: list_affected
-- Repositories that hold a blob, with the manifests that need it, also through the indexes that list them, and the tags.
WITH RECURSIVE holding AS (
    SELECT repositories.id, repositories.name
    FROM blobs
    JOIN repository_blobs ON repository_blobs.blob_id = blobs.id
    JOIN repositories ON repositories.id = repository_blobs.repository_id
    WHERE blobs.registry_id = $1 AND blobs.digest = $2
      AND repository_blobs.deleted_at IS NULL
      AND repositories.deleted_at IS NULL
), needing AS (
    SELECT manifests.id, manifests.repository_id, manifests.digest
    FROM holding
    JOIN manifest_references ON manifest_references.repository_id = holding.id
        AND manifest_references.child_digest = $2
    JOIN manifests ON manifests.id = manifest_references.manifest_id
    WHERE manifests.deleted_at IS NULL
  UNION
    SELECT parents.id, parents.repository_id, parents.digest
    FROM needing
    JOIN manifest_references ON manifest_references.repository_id = needing.repository_id
        AND manifest_references.child_digest = needing.digest
    JOIN manifests AS parents ON parents.id = manifest_references.manifest_id
    WHERE parents.deleted_at IS NULL
)
SELECT holding.name AS repository, needing.digest AS manifest,
       array_remove(array_agg(tags.name ORDER BY tags.name), NULL) AS tags
FROM holding
LEFT JOIN needing ON needing.repository_id = holding.id
LEFT JOIN tags ON tags.manifest_id = needing.id AND tags.deleted_at IS NULL
GROUP BY holding.name, needing.digest
ORDER BY holding.name, needing.digest;

-- name: withdraw_blob
-- Unless a push has given the digest another object meanwhile.
UPDATE blobs
SET withdrawn_at = now()
FROM objects
WHERE objects.key = $1
  AND blobs.object_id = objects.id
  AND blobs.withdrawn_at IS NULL
RETURNING blobs.registry_id, blobs.digest;

-- name: readmit_blob
UPDATE blobs
SET withdrawn_at = NULL
FROM objects
WHERE objects.key = $1
  AND blobs.object_id = objects.id
  AND blobs.withdrawn_at IS NOT NULL
RETURNING blobs.registry_id, blobs.digest;
