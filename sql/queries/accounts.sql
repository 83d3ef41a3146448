-- name: list_accounts
SELECT id, name, is_root, note, version, created_at
FROM accounts
WHERE deleted_at IS NULL
ORDER BY name;

-- name: fetch_account
SELECT id, name, is_root, note, version, created_at
FROM accounts
WHERE name = $1 AND deleted_at IS NULL;

-- name: insert_account
INSERT INTO accounts (name, note)
VALUES ($1, $2)
ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING
RETURNING id, name, is_root, note, version, created_at;

-- name: lock_account
-- Whatever changes an account, its policies or its keys begins here: changes of one account come one after the other.
SELECT id, name, is_root, note
FROM accounts
WHERE name = $1 AND deleted_at IS NULL
FOR NO KEY UPDATE;

-- name: fetch_grants_of_account
SELECT policies.role, policies.registry_id, registries.name AS registry
FROM policies
LEFT JOIN registries ON registries.id = policies.registry_id
WHERE policies.account_id = $1
ORDER BY policies.id;

-- name: delete_account
UPDATE accounts
SET deleted_at = now()
WHERE id = $1;

-- name: delete_policies_of_account
DELETE FROM policies
WHERE account_id = $1;

-- name: delete_keys_of_account
UPDATE access_keys
SET deleted_at = now()
WHERE account_id = $1 AND deleted_at IS NULL
RETURNING id, access_key_id;

-- name: list_policies
SELECT policies.account_id, accounts.name AS account, policies.role, registries.name AS registry, policies.created_at
FROM policies
JOIN accounts ON accounts.id = policies.account_id
LEFT JOIN registries ON registries.id = policies.registry_id
WHERE accounts.deleted_at IS NULL
  AND registries.deleted_at IS NULL
  AND ($1::text IS NULL OR accounts.name = $1)
  AND ($2::text IS NULL OR registries.name = $2)
ORDER BY accounts.name, policies.role, registries.name NULLS FIRST;

-- name: lock_registry_of_policy
-- Nobody deletes it until the policy is committed.
SELECT id
FROM registries
WHERE name = $1 AND deleted_at IS NULL
FOR SHARE;

-- name: insert_policy
INSERT INTO policies (account_id, role, registry_id)
VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT policies_unique DO NOTHING
RETURNING created_at;

-- name: fetch_policy_date
SELECT created_at
FROM policies
WHERE account_id = $1 AND role = $2 AND registry_id IS NOT DISTINCT FROM $3;

-- name: delete_policy
DELETE FROM policies
WHERE account_id = $1 AND role = $2 AND registry_id IS NOT DISTINCT FROM $3
RETURNING id;
