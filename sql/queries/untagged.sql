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
-- What a round would delete once it has deleted $2, of registries $1. The same rule as that of untagged_manifests, with
-- those counted as deleted.
SELECT manifests.id
FROM repositories
JOIN manifests ON manifests.repository_id = repositories.id
WHERE repositories.untagged_days IS NOT NULL
  AND repositories.deleted_at IS NULL
  AND repositories.registry_id = ANY($1::bigint[])
  AND manifests.deleted_at IS NULL
  AND manifests.id NOT IN (SELECT unnest($2::bigint[]))
  AND NOT EXISTS (SELECT FROM tags WHERE tags.manifest_id = manifests.id AND tags.deleted_at IS NULL OFFSET 0)
  AND NOT EXISTS (
      SELECT
      FROM manifest_references
      JOIN manifests AS parent ON parent.id = manifest_references.manifest_id
      WHERE manifest_references.repository_id = manifests.repository_id
        AND manifest_references.child_digest = manifests.digest
        AND manifest_references.kind = 'child'
        AND parent.deleted_at IS NULL
        AND parent.id NOT IN (SELECT unnest($2::bigint[]))
      OFFSET 0
  )
  AND NOT EXISTS (
      SELECT
      FROM manifests AS subject
      WHERE subject.repository_id = manifests.repository_id
        AND subject.digest = manifests.subject_digest
        AND subject.deleted_at IS NULL
        AND subject.id NOT IN (SELECT unnest($2::bigint[]))
      OFFSET 0
  )
  AND greatest(
      manifests.created_at,
      (SELECT last_pulled_at FROM manifest_figures WHERE manifest_figures.manifest_id = manifests.id),
      (SELECT lost_at FROM tag_losses WHERE tag_losses.manifest_id = manifests.id),
      repositories.untagged_from
  ) <= now() - make_interval(days => repositories.untagged_days);
