-- name: list_access_keys
SELECT access_keys.id, access_keys.access_key_id, access_keys.account_id, accounts.name AS account, access_keys.note,
       access_keys.actions, access_keys.repositories, access_keys.disabled_at IS NOT NULL AS disabled,
       access_keys.expires_at, access_keys.last_used_at, access_keys.last_used_from, access_keys.version,
       access_keys.created_at
FROM access_keys
JOIN accounts ON accounts.id = access_keys.account_id
WHERE access_keys.deleted_at IS NULL
  AND ($1::text IS NULL OR accounts.name = $1)
  AND ($2::text IS NULL OR access_keys.access_key_id = $2)
ORDER BY access_keys.access_key_id;

-- name: insert_access_key
INSERT INTO access_keys (access_key_id, account_id, note, actions, repositories, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id;

-- name: update_access_key
UPDATE access_keys
SET note = $2, actions = $3, repositories = $4, disabled_at = CASE WHEN $5 THEN coalesce(disabled_at, now()) END,
    expires_at = $6, version = version + 1
WHERE id = $1;

-- name: delete_access_key
UPDATE access_keys
SET deleted_at = now()
WHERE id = $1;

-- name: insert_secret
INSERT INTO key_secrets (key_id, scheme, pepper_id, hash)
VALUES ($1, $2, $3, $4);

-- name: keep_newest_secret
-- For a while; the others end now.
UPDATE key_secrets
SET expires_at = CASE WHEN id = (SELECT max(id) FROM key_secrets WHERE key_id = $1)
                      THEN least(expires_at, now() + make_interval(secs => $2)) ELSE now() END
WHERE key_id = $1;

-- name: delete_secrets
DELETE FROM key_secrets
WHERE key_id = ANY($1::bigint[]);

-- name: delete_ended_secrets
DELETE FROM key_secrets
WHERE key_id = $1 AND expires_at <= now();

-- name: has_lasting_key
SELECT EXISTS (
    SELECT
    FROM access_keys
    WHERE account_id = $1
      AND deleted_at IS NULL
      AND disabled_at IS NULL
      AND expires_at IS NULL
      AND actions IS NULL
      AND repositories IS NULL
);
