-- name: list_tags
SELECT name
FROM tags
WHERE repository_id = $1 AND deleted_at IS NULL AND name > $2
ORDER BY name
LIMIT $3;

-- name: upsert_tags
-- In name order, so that two pushes of the same tags cannot wait for each other.
INSERT INTO tags (repository_id, name, manifest_id, pushed_by)
SELECT $1, tag.name, $3, $4
FROM unnest($2::text[]) AS tag (name)
ORDER BY tag.name COLLATE "C"
ON CONFLICT (repository_id, name) WHERE deleted_at IS NULL
DO UPDATE SET manifest_id = excluded.manifest_id, pushed_at = now(), pushed_by = excluded.pushed_by,
              replaced_manifest_id = tags.manifest_id
RETURNING name, replaced_manifest_id;

-- name: delete_tag
UPDATE tags
SET deleted_at = now()
FROM repositories
WHERE repositories.id = tags.repository_id
  AND repositories.registry_id = $1
  AND repositories.name = $2
  AND repositories.deleted_at IS NULL
  AND tags.name = $3
  AND tags.deleted_at IS NULL
RETURNING tags.manifest_id;
