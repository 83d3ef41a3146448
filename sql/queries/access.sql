-- name: fetch_access_key
-- With its account, the account's policies and all its secrets: one question for every login and every second of use.
SELECT access_keys.id, access_keys.account_id, accounts.name AS account, accounts.is_root,
       access_keys.actions, access_keys.repositories,
       access_keys.disabled_at IS NOT NULL AS disabled, access_keys.expires_at,
       ARRAY(
           SELECT (policies.role, policies.registry_id)
           FROM policies
           WHERE policies.account_id = accounts.id
       ) AS grants,
       ARRAY(
           SELECT (key_secrets.scheme, key_secrets.pepper_id, key_secrets.hash, key_secrets.expires_at)
           FROM key_secrets
           WHERE key_secrets.key_id = access_keys.id
           ORDER BY key_secrets.id DESC
       ) AS secrets
FROM access_keys
JOIN accounts ON accounts.id = access_keys.account_id
WHERE access_keys.access_key_id = $1 AND access_keys.deleted_at IS NULL AND accounts.deleted_at IS NULL;

-- name: record_key_uses
UPDATE access_keys
SET last_used_at = used.at, last_used_from = used.address
FROM unnest($1::bigint[], $2::timestamptz[], $3::text[]) AS used (id, at, address)
WHERE access_keys.id = used.id AND (access_keys.last_used_at IS NULL OR access_keys.last_used_at < used.at);

-- name: fetch_peppers
SELECT id, value, is_sealed
FROM peppers
ORDER BY id;

-- name: seal_pepper
UPDATE peppers
SET value = $2, is_sealed = true
WHERE id = $1 AND NOT is_sealed;

-- name: insert_first_pepper
INSERT INTO peppers (value, is_sealed)
SELECT $1, $2
WHERE NOT EXISTS (SELECT FROM peppers);

-- name: fetch_signing_keys
SELECT id, algorithm, private_key, is_sealed, signs_from, verifies_until
FROM signing_keys
WHERE verifies_until IS NULL OR verifies_until > now()
ORDER BY signs_from;

-- name: seal_signing_key
UPDATE signing_keys
SET private_key = $2, is_sealed = true
WHERE id = $1 AND NOT is_sealed;

-- name: insert_signing_key
-- Unless there is one that signs later than $6.
INSERT INTO signing_keys (id, algorithm, private_key, is_sealed, signs_from)
SELECT $1, $2, $3, $4, $5
WHERE NOT EXISTS (SELECT FROM signing_keys WHERE signs_from > $6)
RETURNING id;

-- name: end_signing_keys
UPDATE signing_keys
SET verifies_until = $2
WHERE id <> $1 AND verifies_until IS NULL;

-- name: delete_ended_signing_keys
DELETE FROM signing_keys
WHERE verifies_until <= now();

-- name: insert_installation
INSERT INTO installation (public_id)
VALUES ($1)
ON CONFLICT (is_single) DO NOTHING;

-- name: fetch_installation
SELECT public_id
FROM installation;

-- name: fetch_root
SELECT id
FROM accounts
WHERE is_root AND deleted_at IS NULL;

-- name: insert_root
INSERT INTO accounts (name, is_root)
VALUES ('root', true)
RETURNING id;
