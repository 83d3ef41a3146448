-- name: find_untagged_manifests
-- Of images that say for how long they keep them; behind $2, of registries $1.
SELECT untagged.manifest_id, untagged.digest, repositories.name AS repository,
       registries.id, registries.public_id, registries.bucket, registries.generation
FROM repositories
JOIN registries ON registries.id = repositories.registry_id
JOIN untagged_manifests AS untagged ON untagged.repository_id = repositories.id
WHERE repositories.untagged_days IS NOT NULL
  AND repositories.deleted_at IS NULL
  AND repositories.registry_id = ANY($1::bigint[])
  AND untagged.manifest_id > $2
  AND untagged.since <= now() - make_interval(days => repositories.untagged_days)
ORDER BY untagged.manifest_id
LIMIT $3;

-- name: is_untagged
-- The manifest is locked: whoever tags or lists it comes before, or finds it deleted.
SELECT EXISTS (
    SELECT
    FROM untagged_manifests AS untagged
    JOIN repositories ON repositories.id = untagged.repository_id
    WHERE untagged.manifest_id = $1
      AND untagged.since <= now() - make_interval(days => repositories.untagged_days)
);

-- name: estimate_untagged_manifests
-- What a round would delete once it has deleted $2, of registries $1.
SELECT untagged.manifest_id AS id
FROM repositories
JOIN untagged_manifests_without($2::bigint[]) AS untagged ON untagged.repository_id = repositories.id
WHERE repositories.untagged_days IS NOT NULL
  AND repositories.deleted_at IS NULL
  AND repositories.registry_id = ANY($1::bigint[])
  AND untagged.since <= now() - make_interval(days => repositories.untagged_days);
