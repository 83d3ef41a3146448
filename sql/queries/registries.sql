-- name: fetch_default_registry
-- The registry of addresses that name none.
SELECT id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
       public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version
FROM registries
WHERE is_default AND deleted_at IS NULL;

-- name: fetch_registry_by_name
SELECT id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
       public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version
FROM registries
WHERE name = $1 AND deleted_at IS NULL;

-- name: fetch_registry_by_private_label
SELECT id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
       public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version
FROM registries
WHERE private_label = $1 AND deleted_at IS NULL;

-- name: list_registries
SELECT id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
       public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version
FROM registries
WHERE deleted_at IS NULL
ORDER BY name;

-- name: lock_registry
SELECT id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
       public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version
FROM registries
WHERE name = $1 AND deleted_at IS NULL
FOR UPDATE;

-- name: insert_registry
INSERT INTO registries (public_id, generation, name, storage, bucket, private_label, public_delivery, private_delivery)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
RETURNING id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
          public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version;

-- name: revive_registry
-- Taken over from its bucket, in which nobody else has been since: what is known of its images is true still.
UPDATE registries
SET deleted_at = NULL, generation = $2, name = $3, private_label = $4, public_delivery = coalesce($5, public_delivery),
    private_delivery = coalesce($5, private_delivery),
    delivery_rules = CASE WHEN $5 IS NULL THEN delivery_rules ELSE '{}' END, version = version + 1
WHERE id = $1 AND deleted_at IS NOT NULL
RETURNING id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
          public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version;

-- name: insert_unborn_registry
-- Deleted from the beginning, until all that it has is there. None while there is a living one of this public id: the
-- bucket is a copy of its, or was taken over just now. Its generation is also behind that of each one that has failed, of
-- which a segment may come late.
INSERT INTO registries (public_id, generation, name, storage, bucket, private_label, deleted_at)
SELECT $1, greatest($2, 1 + max(generation)), $3, $4, $5, $6, now()
FROM registries
WHERE public_id = $1
HAVING coalesce(bool_and(deleted_at IS NOT NULL), true)
RETURNING id, generation;

-- name: open_registry
UPDATE registries
SET deleted_at = NULL
WHERE id = $1
RETURNING id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
          public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version;

-- name: update_registry
UPDATE registries
SET public_endpoint = $2, public_pull = $3, public_networks = $4, private_networks = $5,
    public_delivery = $6, private_delivery = $7, delivery_rules = $8, version = version + 1
WHERE id = $1
RETURNING id, public_id, name, storage, bucket, generation, is_default, private_label, public_endpoint, public_pull,
          public_networks, private_networks, public_delivery, private_delivery, delivery_rules, version;

-- name: delete_registry
UPDATE registries
SET deleted_at = now(), is_default = false
WHERE id = $1;

-- name: delete_policies_of_registry
DELETE FROM policies
WHERE registry_id = $1;

-- name: ask_for_uploads_of_registry
-- The epoch says which holder is meant, as in ask_for_upload.
SELECT pg_notify('slipway_uploads', id || ' ' || epoch)
FROM upload_sessions
WHERE registry_id = $1 AND owner IS NOT NULL;

-- name: delete_uploads_of_registry
DELETE FROM upload_sessions
WHERE registry_id = $1;

-- name: delete_tombstones_of_registry
DELETE FROM upload_tombstones
WHERE registry_id = $1;

-- name: retire_unfinished_objects_of_registry
UPDATE objects
SET state = 'removing', session_id = NULL
WHERE registry_id = $1 AND state = 'writing';

-- name: clear_default_registry
UPDATE registries
SET is_default = false
WHERE is_default AND name IS DISTINCT FROM $1;

-- name: set_default_registry
UPDATE registries
SET is_default = true
WHERE name = $1 AND deleted_at IS NULL AND NOT is_default;

-- name: fetch_registries_without_label
SELECT id
FROM registries
WHERE private_label IS NULL;

-- name: set_private_label
UPDATE registries
SET private_label = $2
WHERE id = $1 AND private_label IS NULL;

-- name: lock_bootstrap
-- Only one process at a time prepares an empty database.
SELECT pg_advisory_xact_lock(hashtextextended('slipway bootstrap', 0));
