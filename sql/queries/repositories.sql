-- name: fetch_repository_id
SELECT id
FROM repositories
WHERE registry_id = $1 AND name = $2 AND deleted_at IS NULL;

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
