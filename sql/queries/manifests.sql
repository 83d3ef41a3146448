-- name: fetch_manifest_by_digest
SELECT manifests.digest, manifests.media_type, manifests.raw
FROM repositories
JOIN manifests ON manifests.repository_id = repositories.id
WHERE repositories.registry_id = $1
  AND repositories.name = $2
  AND repositories.deleted_at IS NULL
  AND manifests.digest = $3
  AND manifests.deleted_at IS NULL;

-- name: fetch_manifest_by_tag
SELECT manifests.digest, manifests.media_type, manifests.raw
FROM repositories
JOIN tags ON tags.repository_id = repositories.id
JOIN manifests ON manifests.id = tags.manifest_id
WHERE repositories.registry_id = $1
  AND repositories.name = $2
  AND repositories.deleted_at IS NULL
  AND tags.name = $3
  AND tags.deleted_at IS NULL;

-- name: lock_referenced_blobs
-- The locking rule of references: in digest order, and what is returned is locked and alive.
SELECT digest
FROM repository_blobs
WHERE repository_id = $1 AND digest = ANY($2::text[]) AND deleted_at IS NULL
ORDER BY digest
FOR UPDATE;

-- name: lock_referenced_manifests
SELECT digest
FROM manifests
WHERE repository_id = $1 AND digest = ANY($2::text[]) AND deleted_at IS NULL
ORDER BY digest
FOR SHARE;

-- name: upsert_manifest
INSERT INTO manifests (repository_id, digest, media_type, kind, raw, subject_digest, artifact_type, annotations)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (repository_id, digest) WHERE deleted_at IS NULL
DO UPDATE SET media_type = excluded.media_type
RETURNING id;

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
SELECT manifests.id, manifests.repository_id
FROM repositories
JOIN manifests ON manifests.repository_id = repositories.id
WHERE repositories.registry_id = $1
  AND repositories.name = $2
  AND repositories.deleted_at IS NULL
  AND manifests.digest = $3
  AND manifests.deleted_at IS NULL
FOR UPDATE OF manifests;

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
SET deleted_at = now()
WHERE id = $1;

-- name: delete_tags_of_manifest
UPDATE tags
SET deleted_at = now()
WHERE manifest_id = $1 AND deleted_at IS NULL;

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
