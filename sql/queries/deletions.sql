-- name: lock_image
-- Waits for pushes that are under way, and keeps new ones out.
SELECT id
FROM repositories
WHERE registry_id = $1 AND name = $2 AND deleted_at IS NULL
FOR UPDATE;

-- name: delete_image
UPDATE repositories
SET deleted_at = now(), deletion_id = $2, changed_at = clock_timestamp()
WHERE id = $1;

-- name: delete_manifests_of_image
UPDATE manifests
SET deleted_at = now(), deletion_id = $2
WHERE repository_id = $1 AND deleted_at IS NULL;

-- name: delete_tags_of_image
UPDATE tags
SET deleted_at = now(), deletion_id = $2
WHERE repository_id = $1 AND deleted_at IS NULL;

-- name: list_deletions
-- What was deleted from an image that is deleted itself comes back with the image only.
SELECT deletions.id, deletions.kind, repositories.name AS image, deletions.tag, deletions.digest,
       deletions.deleted_at, deletions.deleted_by
FROM deletions
JOIN repositories ON repositories.id = deletions.repository_id
WHERE deletions.registry_id = $1
  AND deletions.restored_at IS NULL
  AND deletions.deleted_at > now() - make_interval(days => $2)
  AND deletions.id < $3
  AND (deletions.kind = 'image' OR repositories.deleted_at IS NULL)
ORDER BY deletions.id DESC
LIMIT $4;

-- name: lock_deletion
SELECT deletions.id, deletions.repository_id, deletions.kind, deletions.tag, deletions.digest,
       repositories.name AS image
FROM deletions
JOIN repositories ON repositories.id = deletions.repository_id
WHERE deletions.id = $1
  AND deletions.registry_id = $2
  AND deletions.restored_at IS NULL
  AND deletions.deleted_at > now() - make_interval(days => $3)
FOR UPDATE OF deletions;

-- name: finish_deletion
UPDATE deletions
SET restored_at = now()
WHERE id = $1;

-- name: lock_living_repository
SELECT id
FROM repositories
WHERE id = $1 AND deleted_at IS NULL
FOR KEY SHARE;

-- name: lock_namesakes
-- A deleted image and the living one that has its name, if any.
SELECT id, deleted_at IS NULL AS is_alive
FROM repositories
WHERE registry_id = $1 AND name = $2 AND (deleted_at IS NULL OR id = $3)
ORDER BY id
FOR UPDATE;

-- name: revive_repository
UPDATE repositories
SET deleted_at = NULL, deletion_id = NULL
WHERE id = $1;

-- name: lock_blobs_of_repositories
-- The locking rule of references, for everything that two images have.
SELECT id
FROM repository_blobs
WHERE repository_id = ANY($1::bigint[])
ORDER BY digest, id
FOR UPDATE;

-- name: move_repository_blobs
UPDATE repository_blobs AS moving
SET repository_id = $2
WHERE moving.repository_id = $1
  AND (moving.deleted_at IS NOT NULL OR NOT EXISTS (
      SELECT
      FROM repository_blobs AS other
      WHERE other.repository_id = $2 AND other.digest = moving.digest AND other.deleted_at IS NULL
  ));

-- name: drop_repository_blobs
-- Those that the living image has as well.
DELETE FROM repository_blobs
WHERE repository_id = $1;

-- name: move_manifests
UPDATE manifests
SET repository_id = $2
WHERE repository_id = $1;

-- name: move_references
UPDATE manifest_references
SET repository_id = $2
WHERE repository_id = $1;

-- name: move_tags
UPDATE tags
SET repository_id = $2
WHERE repository_id = $1;

-- name: move_deletions
UPDATE deletions
SET repository_id = $2
WHERE repository_id = $1;

-- name: move_repository_pulls
WITH former AS (
    DELETE FROM repository_pulls WHERE repository_id = $1 RETURNING pulls, last_pulled_at
)
UPDATE repository_pulls AS total
SET pulls = total.pulls + former.pulls, last_pulled_at = greatest(total.last_pulled_at, former.last_pulled_at)
FROM former
WHERE total.repository_id = $2;

-- name: move_pull_history
WITH former AS (
    DELETE FROM pull_history WHERE repository_id = $1 RETURNING starts_at, span, manifest_id, key_id, pulls
)
INSERT INTO pull_history AS history (repository_id, starts_at, span, manifest_id, key_id, pulls)
SELECT $2, starts_at, span, manifest_id, key_id, pulls
FROM former
ORDER BY starts_at, span, manifest_id, key_id
ON CONFLICT (repository_id, starts_at, span, manifest_id, key_id) DO UPDATE
SET pulls = history.pulls + excluded.pulls;

-- name: find_revivals
-- Manifests that have to come back with a deletion: its own, those of its tags, and what indexes among them list. Of
-- those with a living twin this one is as good; of several dead ones with one digest, one is enough.
WITH RECURSIVE reached (id, digest) AS (
    SELECT manifests.id, manifests.digest
    FROM (
        SELECT id FROM manifests WHERE deletion_id = $2
        UNION
        SELECT manifest_id FROM tags WHERE deletion_id = $2 AND deleted_at IS NOT NULL
    ) AS root
    JOIN manifests ON manifests.id = root.id
    UNION
    SELECT child.id, child.digest
    FROM reached
    JOIN manifest_references ON manifest_references.manifest_id = reached.id AND manifest_references.kind = 'child'
    JOIN LATERAL (
        SELECT manifests.id, manifests.digest
        FROM manifests
        WHERE manifests.repository_id = $1
          AND manifests.digest = manifest_references.child_digest
          AND manifests.deleted_at IS NOT NULL
        ORDER BY manifests.id DESC
        LIMIT 1
    ) AS child ON true
)
SELECT DISTINCT ON (manifests.digest) manifests.id, manifests.digest
FROM reached
JOIN manifests ON manifests.id = reached.id
WHERE NOT EXISTS (
    SELECT
    FROM manifests AS living
    WHERE living.repository_id = $1 AND living.digest = manifests.digest AND living.deleted_at IS NULL
)
ORDER BY manifests.digest, manifests.deletion_id IS NOT DISTINCT FROM $2 DESC, manifests.id DESC;

-- name: fetch_references
SELECT manifest_id, child_digest AS digest, kind
FROM manifest_references
WHERE manifest_id = ANY($1::bigint[]);

-- name: lock_restorable_blobs
-- The locking rule of references: in digest order, deleted ones as well.
SELECT id
FROM repository_blobs
WHERE (repository_id = $1 AND digest = ANY($2::text[]) AND deleted_at IS NULL)
   OR (repository_id = $1 AND digest = ANY($2::text[]) AND deleted_at IS NOT NULL)
ORDER BY digest, id
FOR UPDATE;

-- name: fetch_restorable_blobs
-- One for each digest, a living one before all others.
SELECT DISTINCT ON (digest) id, digest, deleted_at IS NULL AS is_alive
FROM repository_blobs
WHERE (repository_id = $1 AND digest = ANY($2::text[]) AND deleted_at IS NULL)
   OR (repository_id = $1 AND digest = ANY($2::text[]) AND deleted_at IS NOT NULL)
ORDER BY digest, deleted_at IS NULL DESC, id DESC;

-- name: fetch_manifests_in_need
-- Manifests that refer to what is not there.
SELECT manifests.media_type, manifests.raw
FROM manifests
WHERE manifests.id = ANY($1::bigint[])
  AND EXISTS (
      SELECT
      FROM manifest_references
      WHERE manifest_references.manifest_id = manifests.id AND manifest_references.child_digest = ANY($2::text[])
  );

-- name: revive_blobs
UPDATE repository_blobs
SET deleted_at = NULL, unreferenced_since = NULL
WHERE id = ANY($1::bigint[]);

-- name: revive_manifests
-- One that comes back without a tag is kept for as long as if it had lost it just now.
WITH revived AS (
    UPDATE manifests SET deleted_at = NULL, deletion_id = NULL WHERE id = ANY($1::bigint[]) RETURNING id
), lost AS (
    INSERT INTO tag_losses (manifest_id, lost_at)
    SELECT id, now() FROM revived
    ON CONFLICT (manifest_id) DO UPDATE SET lost_at = excluded.lost_at
)
SELECT id FROM revived;

-- name: revive_tags
-- Those whose names are free, pointing at the living manifest with the digest that they had.
UPDATE tags
SET deleted_at = NULL, deletion_id = NULL, manifest_id = living.id
FROM manifests AS former
JOIN manifests AS living ON living.digest = former.digest AND living.deleted_at IS NULL
WHERE tags.deletion_id = $1
  AND tags.deleted_at IS NOT NULL
  AND former.id = tags.manifest_id
  AND living.repository_id = $2
  AND NOT EXISTS (
      SELECT
      FROM tags AS other
      WHERE other.repository_id = $2 AND other.name = tags.name AND other.deleted_at IS NULL
  )
RETURNING tags.name;

-- name: list_tags_of_deletion
SELECT name
FROM tags
WHERE deletion_id = $1 AND deleted_at IS NOT NULL
ORDER BY name;
