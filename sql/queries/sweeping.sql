-- name: list_registries_to_sweep
-- The living ones, or with $2 the deleted ones.
SELECT id, public_id, bucket, generation
FROM registries
WHERE storage = $1
  AND (deleted_at IS NOT NULL) = $2
  AND id IN (
      SELECT registry_id
      FROM upload_sessions
      WHERE expires_at <= now() AND (lease_expires_at IS NULL OR lease_expires_at <= now())
  )
ORDER BY id;

-- name: lock_expired_uploads
-- Whoever takes the lease at this moment has locked the row, and moves the end away.
SELECT id
FROM upload_sessions
WHERE registry_id = $1
  AND expires_at <= now()
  AND (lease_expires_at IS NULL OR lease_expires_at <= now())
ORDER BY expires_at
LIMIT $2
FOR UPDATE SKIP LOCKED;

-- name: delete_expired_tombstones
DELETE FROM upload_tombstones
WHERE session_id = ANY(ARRAY(
    SELECT session_id
    FROM upload_tombstones
    WHERE expires_at <= now()
    ORDER BY expires_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
))
RETURNING session_id;

-- name: count_expired_uploads
SELECT count(*)
FROM upload_sessions
WHERE registry_id = ANY($1::bigint[])
  AND expires_at <= now()
  AND (lease_expires_at IS NULL OR lease_expires_at <= now());
