-- name: list_tags
SELECT name
FROM tags
WHERE repository_id = $1 AND deleted_at IS NULL AND name > $2
ORDER BY name
LIMIT $3;

-- name: upsert_tags
-- Check and write in one: the image's row is locked first, so that neither another push nor somebody at its switch comes
-- in between. A tag that may not be moved is left as it is, and not returned. In name order, so that two pushes of the
-- same tags cannot wait for each other.
WITH image AS (
    UPDATE repositories SET changed_at = clock_timestamp() WHERE id = $1 RETURNING tags_mutable
), pointed AS (
    INSERT INTO tags (repository_id, name, manifest_id, pushed_by)
    SELECT $1, tag.name, $3, $4
    FROM image, unnest($2::text[]) AS tag (name)
    ORDER BY tag.name COLLATE "C"
    ON CONFLICT (repository_id, name) WHERE deleted_at IS NULL
    DO UPDATE SET manifest_id = excluded.manifest_id, pushed_at = now(), pushed_by = excluded.pushed_by,
                  replaced_manifest_id = tags.manifest_id
    WHERE tags.manifest_id = excluded.manifest_id OR (SELECT tags_mutable FROM image)
    RETURNING name, replaced_manifest_id
), lost AS (
    INSERT INTO tag_losses (manifest_id, lost_at)
    SELECT DISTINCT replaced_manifest_id, now() FROM pointed WHERE replaced_manifest_id <> $3
    ON CONFLICT (manifest_id) DO UPDATE SET lost_at = excluded.lost_at
)
SELECT name, replaced_manifest_id FROM pointed;

-- name: lock_tag
SELECT tags.id, manifests.digest
FROM tags
JOIN manifests ON manifests.id = tags.manifest_id
WHERE tags.repository_id = $1 AND tags.name = $2 AND tags.deleted_at IS NULL
FOR UPDATE OF tags;

-- name: delete_tag
WITH gone AS (
    UPDATE tags SET deleted_at = now(), deletion_id = $2 WHERE id = $1 RETURNING manifest_id
)
INSERT INTO tag_losses (manifest_id, lost_at)
SELECT manifest_id, now() FROM gone
ON CONFLICT (manifest_id) DO UPDATE SET lost_at = excluded.lost_at;
