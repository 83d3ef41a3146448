-- name: fetch_removing
-- Objects to delete for the first time, and those whose first deletion is so long ago that no call can be under way.
-- Those of deleted registries too: what their uploads had begun.
SELECT objects.id, objects.registry_id, registries.public_id, registries.bucket, registries.generation,
       objects.key, objects.multipart_id, coalesce(objects.size, 0) AS size, objects.removed_at IS NOT NULL AS again,
       registries.deleted_at IS NOT NULL AS is_left_behind
FROM objects
JOIN registries ON registries.id = objects.registry_id
WHERE objects.state = 'removing'
  AND objects.id > $1
  AND registries.storage = $3
  AND (objects.removed_at IS NULL OR objects.removed_at < now() - interval '15 minutes')
ORDER BY objects.id
LIMIT $2;

-- name: record_removed
-- Two processes may have removed it: one of them is the first.
UPDATE objects
SET removed_at = now()
WHERE id = $1 AND state = 'removing' AND removed_at IS NULL
RETURNING id;

-- name: forget_object
DELETE FROM objects
WHERE id = $1 AND state = 'removing';
