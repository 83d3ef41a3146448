-- name: claim_batch
-- Returns a row when the batch was not added before; whoever comes with the same number waits for this transaction.
INSERT INTO pull_journals AS journals (id, applied)
VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET applied = excluded.applied, applied_at = now()
WHERE journals.applied < excluded.applied
RETURNING applied;

-- name: forget_journal
DELETE FROM pull_journals WHERE id = $1;

-- name: add_repository_pulls
-- As in all statements that add: one row for a key, in the order of the keys, so that batches wait for each other
-- instead of for ever.
INSERT INTO repository_pulls AS total (repository_id, registry_id, pulls, last_pulled_at)
SELECT repository_id, registry_id, pulls, to_timestamp(last)
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS added (repository_id, registry_id, pulls, last)
ORDER BY repository_id
ON CONFLICT (repository_id) DO UPDATE
SET pulls = total.pulls + excluded.pulls, last_pulled_at = greatest(total.last_pulled_at, excluded.last_pulled_at);

-- name: add_manifest_pulls
INSERT INTO manifest_pulls AS total (manifest_id, pulls, last_pulled_at)
SELECT manifest_id, pulls, to_timestamp(last)
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS added (manifest_id, pulls, last)
ORDER BY manifest_id
ON CONFLICT (manifest_id) DO UPDATE
SET pulls = total.pulls + excluded.pulls, last_pulled_at = greatest(total.last_pulled_at, excluded.last_pulled_at);

-- name: add_key_pulls
INSERT INTO key_pulls AS total (registry_id, key_id, pulls, last_pulled_at)
SELECT registry_id, key_id, pulls, to_timestamp(last)
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS added (registry_id, key_id, pulls, last)
ORDER BY registry_id, key_id
ON CONFLICT (registry_id, key_id) DO UPDATE
SET pulls = total.pulls + excluded.pulls, last_pulled_at = greatest(total.last_pulled_at, excluded.last_pulled_at);

-- name: add_tag_resolutions
INSERT INTO tag_resolutions AS total (tag_id, resolutions, last_pulled_at)
SELECT tag_id, resolutions, to_timestamp(last)
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS added (tag_id, resolutions, last)
ORDER BY tag_id
ON CONFLICT (tag_id) DO UPDATE
SET resolutions = total.resolutions + excluded.resolutions,
    last_pulled_at = greatest(total.last_pulled_at, excluded.last_pulled_at);

-- name: add_pull_history
INSERT INTO pull_history AS history (repository_id, starts_at, span, manifest_id, key_id, pulls)
SELECT repository_id, to_timestamp(hour * 3600), 1, manifest_id, key_id, pulls
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
    AS added (repository_id, hour, manifest_id, key_id, pulls)
ORDER BY repository_id, hour, manifest_id, key_id
ON CONFLICT (repository_id, starts_at, span, manifest_id, key_id) DO UPDATE
SET pulls = history.pulls + excluded.pulls;

-- name: add_resolution_history
INSERT INTO resolution_history AS history (tag_id, starts_at, span, resolutions)
SELECT tag_id, to_timestamp(hour * 3600), 1, resolutions
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS added (tag_id, hour, resolutions)
ORDER BY tag_id, hour
ON CONFLICT (tag_id, starts_at, span) DO UPDATE
SET resolutions = history.resolutions + excluded.resolutions;

-- name: add_traffic_history
INSERT INTO traffic_history AS history (registry_id, starts_at, proxied_bytes, redirected_bytes)
SELECT registry_id, to_timestamp(hour * 3600), proxied, redirected
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS added (registry_id, hour, proxied, redirected)
ORDER BY registry_id, hour
ON CONFLICT (registry_id, starts_at) DO UPDATE
SET proxied_bytes = history.proxied_bytes + excluded.proxied_bytes,
    redirected_bytes = history.redirected_bytes + excluded.redirected_bytes;

-- name: lock_roll_up
-- One process rolls up at a time; the others have better things to do.
SELECT pg_try_advisory_xact_lock(hashtextextended('slipway roll up', 0));

-- name: roll_up_pulls
WITH old AS (
    SELECT repository_id, starts_at, manifest_id, key_id
    FROM pull_history
    WHERE span = 1 AND starts_at < $1
    ORDER BY starts_at
    LIMIT $2
), taken AS (
    DELETE FROM pull_history AS history
    USING old
    WHERE history.span = 1
      AND (history.repository_id, history.starts_at, history.manifest_id, history.key_id)
        = (old.repository_id, old.starts_at, old.manifest_id, old.key_id)
    RETURNING history.repository_id, history.starts_at, history.manifest_id, history.key_id, history.pulls
), added AS (
    INSERT INTO pull_history AS history (repository_id, starts_at, span, manifest_id, key_id, pulls)
    SELECT repository_id, date_trunc('day', starts_at, 'UTC'), 24, manifest_id, key_id, sum(pulls)
    FROM taken
    GROUP BY 1, 2, 4, 5
    ORDER BY 1, 2, 4, 5
    ON CONFLICT (repository_id, starts_at, span, manifest_id, key_id) DO UPDATE
    SET pulls = history.pulls + excluded.pulls
)
SELECT count(*) FROM taken;

-- name: roll_up_resolutions
WITH old AS (
    SELECT tag_id, starts_at
    FROM resolution_history
    WHERE span = 1 AND starts_at < $1
    ORDER BY starts_at
    LIMIT $2
), taken AS (
    DELETE FROM resolution_history AS history
    USING old
    WHERE history.span = 1 AND (history.tag_id, history.starts_at) = (old.tag_id, old.starts_at)
    RETURNING history.tag_id, history.starts_at, history.resolutions
), added AS (
    INSERT INTO resolution_history AS history (tag_id, starts_at, span, resolutions)
    SELECT tag_id, date_trunc('day', starts_at, 'UTC'), 24, sum(resolutions)
    FROM taken
    GROUP BY 1, 2
    ORDER BY 1, 2
    ON CONFLICT (tag_id, starts_at, span) DO UPDATE
    SET resolutions = history.resolutions + excluded.resolutions
)
SELECT count(*) FROM taken;

-- name: list_repository_pulls
-- A page of a registry's images, those that were pulled most first, read from the index in this order.
SELECT repositories.id AS repository_id, repositories.name AS repository, repository_pulls.pulls,
       repository_pulls.last_pulled_at
FROM repository_pulls
JOIN repositories ON repositories.id = repository_pulls.repository_id
WHERE repository_pulls.registry_id = $1
  AND repositories.deleted_at IS NULL
  AND (repository_pulls.pulls < $2 OR (repository_pulls.pulls = $2 AND repository_pulls.repository_id > $3))
  AND EXISTS (SELECT FROM manifests WHERE manifests.repository_id = repositories.id AND manifests.deleted_at IS NULL)
ORDER BY repository_pulls.pulls DESC, repository_pulls.repository_id
LIMIT $4;

-- name: fetch_repository_pulls
SELECT repositories.id AS repository_id, repositories.name AS repository,
       coalesce(repository_pulls.pulls, 0) AS pulls, repository_pulls.last_pulled_at
FROM repositories
LEFT JOIN repository_pulls ON repository_pulls.repository_id = repositories.id
WHERE repositories.registry_id = $1 AND repositories.name = $2 AND repositories.deleted_at IS NULL;

-- name: list_tag_pulls
-- A tag of an index has the pulls of the manifests that the index lists.
SELECT tags.name AS tag, coalesce(tag_resolutions.resolutions, 0) AS resolutions, tag_resolutions.last_pulled_at,
       manifest_figures.pulls
FROM tags
JOIN manifest_figures ON manifest_figures.manifest_id = tags.manifest_id
LEFT JOIN tag_resolutions ON tag_resolutions.tag_id = tags.id
WHERE tags.repository_id = $1 AND tags.deleted_at IS NULL AND tags.name > $2
ORDER BY tags.name
LIMIT $3;

-- name: list_pull_history
-- By the day (UTC), the latest first; hours that are not rolled up yet count for their day.
SELECT date_trunc('day', starts_at, 'UTC') AS day, sum(pulls)::bigint AS count
FROM pull_history
WHERE repository_id = $1 AND starts_at >= $2
GROUP BY day
ORDER BY day DESC;

-- name: list_resolution_history
SELECT date_trunc('day', resolution_history.starts_at, 'UTC') AS day, sum(resolutions)::bigint AS count
FROM tags
JOIN resolution_history ON resolution_history.tag_id = tags.id
WHERE tags.repository_id = $1 AND tags.name = $2 AND tags.deleted_at IS NULL AND resolution_history.starts_at >= $3
GROUP BY day
ORDER BY day DESC;

-- name: list_traffic_history
SELECT starts_at AS hour, proxied_bytes AS proxied, redirected_bytes AS redirected
FROM traffic_history
WHERE registry_id = $1 AND starts_at >= $2
ORDER BY starts_at DESC;
