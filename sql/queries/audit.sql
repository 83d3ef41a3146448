-- name: insert_audit_line
-- The registry's name as it is now: what the line names may be gone when it is read.
INSERT INTO audit_log
    (account_id, account, access_key_id, address, action, registry_id, registry, object, before, after, result, count)
VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, (SELECT name FROM registries WHERE id = $6)), $8, $9, $10, $11, $12);

-- name: announce_change
-- Heard by all processes (ports.access.CHANGES) once the transaction is committed.
SELECT pg_notify('slipway_changes', '');

-- name: list_audit_lines
SELECT id, happened_at, account, access_key_id, address, action, registry, object, before, after, result, count
FROM audit_log
WHERE ($1::bigint[] IS NULL OR registry_id = ANY($1))
  AND ($2::text IS NULL OR account = $2)
  AND ($3::text IS NULL OR action = $3)
  AND ($4::text IS NULL OR result = $4)
  AND ($5::timestamptz IS NULL OR happened_at >= $5)
  AND ($6::timestamptz IS NULL OR happened_at < $6)
  AND ($7::bigint IS NULL OR id < $7)
ORDER BY id DESC
LIMIT $8;

-- name: delete_old_audit_lines
-- What another process deletes at this moment is left to it.
DELETE FROM audit_log
WHERE id IN (
    SELECT id
    FROM audit_log
    WHERE happened_at < now() - make_interval(days => $1)
    ORDER BY happened_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING id;
