-- name: fetch_default_registry
-- The registry of addresses that name none.
SELECT id, public_id, name, storage, bucket, public_pull
FROM registries
WHERE is_default AND deleted_at IS NULL;

-- name: insert_default_registry
INSERT INTO registries (public_id, name, storage, bucket, is_default)
VALUES ($1, 'default', $2, $3, true)
RETURNING id, public_id, storage, bucket;

-- name: lock_bootstrap
-- Only one process at a time prepares an empty database.
SELECT pg_advisory_xact_lock(hashtextextended('slipway bootstrap', 0));
