-- name: fetch_manifests_by_digest
-- Many lookups in one statement (db/coalesce.py): at most one row for each place in the arrays. Small contents come
-- along, since they lie in the row itself; larger ones lie elsewhere, compressed, and are read only when wanted.
SELECT wanted.place, manifests.id, manifests.digest, manifests.media_type, octet_length(manifests.raw) AS size,
       manifests.kind, manifests.repository_id, NULL::bigint AS tag_id,
       CASE WHEN octet_length(manifests.raw) <= 1900 THEN manifests.raw END AS raw
FROM unnest($1::bigint[], $2::text[], $3::text[])
    WITH ORDINALITY AS wanted (registry_id, repository, digest, place)
JOIN repositories ON repositories.registry_id = wanted.registry_id AND repositories.name = wanted.repository
JOIN manifests ON manifests.repository_id = repositories.id AND manifests.digest = wanted.digest
WHERE repositories.deleted_at IS NULL
  AND manifests.deleted_at IS NULL;

-- name: fetch_manifests_by_tag
SELECT wanted.place, manifests.id, manifests.digest, manifests.media_type, octet_length(manifests.raw) AS size,
       manifests.kind, manifests.repository_id, tags.id AS tag_id,
       CASE WHEN octet_length(manifests.raw) <= 1900 THEN manifests.raw END AS raw
FROM unnest($1::bigint[], $2::text[], $3::text[])
    WITH ORDINALITY AS wanted (registry_id, repository, tag, place)
JOIN repositories ON repositories.registry_id = wanted.registry_id AND repositories.name = wanted.repository
JOIN tags ON tags.repository_id = repositories.id AND tags.name = wanted.tag
JOIN manifests ON manifests.id = tags.manifest_id
WHERE repositories.deleted_at IS NULL
  AND tags.deleted_at IS NULL;

-- name: fetch_manifest_contents
-- Deleted ones as well: who asks was told the id by a row that was alive, and a request is answered as of then.
SELECT wanted.place, manifests.raw
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (id, place)
JOIN manifests ON manifests.id = wanted.id;

-- name: lock_referenced_blobs
-- The locking rule of references: in digest order, and what is returned is locked, alive and not withdrawn.
SELECT repository_blobs.digest
FROM repository_blobs
JOIN blobs ON blobs.id = repository_blobs.blob_id
WHERE repository_blobs.repository_id = $1
  AND repository_blobs.digest = ANY($2::text[])
  AND repository_blobs.deleted_at IS NULL
  AND blobs.withdrawn_at IS NULL
ORDER BY repository_blobs.digest
FOR UPDATE OF repository_blobs;

-- name: lock_referenced_manifests
SELECT digest
FROM manifests
WHERE repository_id = $1 AND digest = ANY($2::text[]) AND deleted_at IS NULL
ORDER BY digest
FOR SHARE;

-- name: upsert_manifest
-- Who pushed it first has pushed it. A row that was there and is updated has an xmax. Its time without a tag starts anew,
-- as when it has just lost one: an index may be about to list it. Not where it gets a tag ($11): pushes that take it from
-- each other's manifests would wait for each other.
WITH pushed AS (
    INSERT INTO manifests
        (repository_id, digest, media_type, kind, raw, subject_digest, artifact_type, annotations, pushed_by,
         platforms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (repository_id, digest) WHERE deleted_at IS NULL
    DO UPDATE SET media_type = excluded.media_type
    RETURNING id, xmax = 0 AS is_new
), again AS (
    INSERT INTO tag_losses (manifest_id, lost_at)
    SELECT id, now() FROM pushed WHERE NOT is_new AND NOT $11
    ON CONFLICT (manifest_id) DO UPDATE SET lost_at = excluded.lost_at
)
SELECT id, is_new FROM pushed;

-- name: insert_references
INSERT INTO manifest_references (manifest_id, repository_id, child_digest, kind)
SELECT $1, $2, reference.digest, reference.kind
FROM unnest($3::text[], $4::text[]) AS reference (digest, kind)
ON CONFLICT DO NOTHING;

-- name: mark_blobs_referenced
UPDATE repository_blobs
SET unreferenced_since = NULL
WHERE repository_id = $1 AND digest = ANY($2::text[]) AND deleted_at IS NULL AND unreferenced_since IS NOT NULL;

-- name: lock_manifest
SELECT id
FROM manifests
WHERE repository_id = $1 AND digest = $2 AND deleted_at IS NULL
FOR UPDATE;

-- name: fetch_parent
-- A living index of the repository that lists the manifest.
SELECT manifests.digest
FROM manifest_references
JOIN manifests ON manifests.id = manifest_references.manifest_id
WHERE manifest_references.repository_id = $1
  AND manifest_references.child_digest = $2
  AND manifest_references.kind = 'child'
  AND manifests.deleted_at IS NULL
LIMIT 1;

-- name: delete_manifest
UPDATE manifests
SET deleted_at = now(), deletion_id = $2
WHERE id = $1;

-- name: delete_tags_of_manifest
UPDATE tags
SET deleted_at = now(), deletion_id = $2
WHERE manifest_id = $1 AND deleted_at IS NULL
RETURNING name;

-- name: fetch_manifest_digests
-- Deleted ones as well.
SELECT id, digest
FROM manifests
WHERE id = ANY($1::bigint[]);

-- name: list_referrers
-- As many as fit into $7 bytes of annotations, and always one.
SELECT digest, media_type, size, artifact_type, annotations
FROM (
    SELECT digest, media_type, size, artifact_type, annotations,
           sum(octet_length(annotations)) OVER (ORDER BY digest) - octet_length(annotations) AS bytes_before
    FROM (
        SELECT manifests.digest, manifests.media_type, octet_length(manifests.raw) AS size, manifests.artifact_type,
               manifests.annotations
        FROM repositories
        JOIN manifests ON manifests.repository_id = repositories.id
        WHERE repositories.registry_id = $1
          AND repositories.name = $2
          AND repositories.deleted_at IS NULL
          AND manifests.subject_digest = $3
          AND manifests.deleted_at IS NULL
          AND (cardinality($4::text[]) = 0 OR manifests.artifact_type = ANY($4::text[]))
          AND manifests.digest > $5
        ORDER BY manifests.digest
        LIMIT $6
    ) AS page
) AS measured
WHERE bytes_before < $7
ORDER BY digest;
