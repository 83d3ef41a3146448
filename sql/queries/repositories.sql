-- name: fetch_repository_id
SELECT id
FROM repositories
WHERE registry_id = $1 AND name = $2 AND deleted_at IS NULL;

-- name: lock_repository
-- For as long as the transaction lasts, the image is not deleted; what else happens to it does not wait. Inserting what
-- belongs to it takes the same lock.
SELECT id
FROM repositories
WHERE registry_id = $1 AND name = $2 AND deleted_at IS NULL
FOR KEY SHARE;

-- name: touch_repository
-- Locks the image's row against other changes of its tags: in every transaction, behind blobs and manifests and before
-- tags. By the clock, since the transaction may have waited here.
UPDATE repositories
SET changed_at = clock_timestamp()
WHERE id = $1;

-- name: insert_deletion
INSERT INTO deletions (registry_id, repository_id, kind, tag, digest, deleted_by)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id;

-- name: insert_repository
WITH made AS (
    INSERT INTO repositories (registry_id, name)
    VALUES ($1, $2)
    ON CONFLICT (registry_id, name) WHERE deleted_at IS NULL DO NOTHING
    RETURNING id
)
INSERT INTO repository_pulls (repository_id, registry_id)
SELECT id, $1 FROM made;

-- name: list_repositories
-- Repositories become visible with their first manifest.
SELECT name
FROM repositories
WHERE registry_id = $1
  AND deleted_at IS NULL
  AND name > $2
  AND EXISTS (SELECT FROM manifests WHERE manifests.repository_id = repositories.id AND manifests.deleted_at IS NULL)
ORDER BY name
LIMIT $3;
