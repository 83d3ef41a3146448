-- name: take_turn
INSERT INTO turns (name, taken_at)
VALUES ($1, now())
ON CONFLICT (name) DO UPDATE
SET taken_at = now()
WHERE turns.taken_at <= now() - make_interval(secs => $2)
RETURNING name;

-- name: list_registries_to_collect
SELECT id, public_id, bucket, generation
FROM registries
WHERE storage = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR name = $2)
ORDER BY id;

-- name: lock_living_registries
-- Those that nobody has deleted since the round began. Who deletes one waits for the batch, and then writes its catalogue
-- once more: whoever takes it over is told what was dropped.
SELECT id
FROM registries
WHERE id = ANY($1::bigint[]) AND deleted_at IS NULL
ORDER BY id
FOR KEY SHARE;

-- name: purge_deletions
-- What went with them cannot be restored from then on. One that is being restored at this moment is passed over. As in all
-- statements that take what is due: $1 seconds, $2 where the batch before has ended (what is left before it is held by
-- somebody), $3 registries, $4 how many. OFFSET 0 keeps each look at another table one by index.
WITH gone AS (
    DELETE FROM deletions
    WHERE id = ANY(ARRAY(
        SELECT id
        FROM deletions
        WHERE deleted_at <= now() - make_interval(secs => $1)
          AND deleted_at >= $2
          AND registry_id = ANY($3::bigint[])
        ORDER BY deleted_at
        LIMIT $4
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING deleted_at
)
SELECT deleted_at AS since FROM gone;

-- name: find_purgeable_manifests
SELECT manifests.id, manifests.deleted_at AS since
FROM manifests
JOIN repositories ON repositories.id = manifests.repository_id
WHERE manifests.deleted_at <= now() - make_interval(secs => $1)
  AND manifests.deleted_at >= $2
  AND repositories.registry_id = ANY($3::bigint[])
  AND NOT EXISTS (SELECT FROM deletions WHERE deletions.id = manifests.deletion_id OFFSET 0)
ORDER BY manifests.deleted_at
LIMIT $4;

-- name: lock_blobs_of_manifests
-- The locking rule of references.
SELECT id
FROM repository_blobs
WHERE id = ANY(ARRAY(
        SELECT held.id
        FROM (
            SELECT DISTINCT repository_id, child_digest FROM manifest_references WHERE manifest_id = ANY($1::bigint[])
        ) AS needed
        CROSS JOIN LATERAL (
            SELECT repository_blobs.id
            FROM repository_blobs
            WHERE repository_blobs.repository_id = needed.repository_id
              AND repository_blobs.digest = needed.child_digest
              AND repository_blobs.deleted_at IS NULL
            OFFSET 0
        ) AS held
    ))
  AND deleted_at IS NULL
ORDER BY digest, id
FOR UPDATE;

-- name: lock_purgeable_manifests
-- Those of the found ones that nobody has restored meanwhile, or is restoring with a tag that was deleted before them.
SELECT id
FROM manifests
WHERE id = ANY($1::bigint[])
  AND deleted_at <= now() - make_interval(secs => $2)
  AND NOT EXISTS (SELECT FROM deletions WHERE deletions.id = manifests.deletion_id OFFSET 0)
  AND NOT EXISTS (
      SELECT
      FROM tags
      JOIN deletions ON deletions.id = tags.deletion_id
      WHERE tags.manifest_id = manifests.id
      OFFSET 0
  )
ORDER BY id
FOR UPDATE SKIP LOCKED;

-- name: purge_tags_of_manifests
-- All of them were deleted before or with their manifest.
WITH gone AS (
    DELETE FROM tags WHERE manifest_id = ANY($1::bigint[]) AND deleted_at IS NOT NULL RETURNING id
), resolutions AS (
    DELETE FROM tag_resolutions USING gone WHERE tag_resolutions.tag_id = gone.id
), history AS (
    DELETE FROM resolution_history USING gone WHERE resolution_history.tag_id = gone.id
)
SELECT id FROM gone;

-- name: purge_manifests
-- Their references go with them.
WITH gone AS (
    DELETE FROM manifests WHERE id = ANY($1::bigint[]) RETURNING id
), losses AS (
    DELETE FROM tag_losses USING gone WHERE tag_losses.manifest_id = gone.id
)
DELETE FROM manifest_pulls
USING gone
WHERE manifest_pulls.manifest_id = gone.id;

-- name: release_blobs
-- From now on the time without references runs.
UPDATE repository_blobs
SET unreferenced_since = now()
WHERE id = ANY($1::bigint[])
  AND unreferenced_since IS NULL
  AND NOT EXISTS (
      SELECT
      FROM manifest_references
      WHERE manifest_references.repository_id = repository_blobs.repository_id
        AND manifest_references.child_digest = repository_blobs.digest
      OFFSET 0
  );

-- name: purge_tags
WITH gone AS (
    DELETE FROM tags
    WHERE id = ANY(ARRAY(
        SELECT tags.id
        FROM tags
        JOIN repositories ON repositories.id = tags.repository_id
        WHERE tags.deleted_at <= now() - make_interval(secs => $1)
          AND tags.deleted_at >= $2
          AND repositories.registry_id = ANY($3::bigint[])
          AND NOT EXISTS (SELECT FROM deletions WHERE deletions.id = tags.deletion_id OFFSET 0)
        ORDER BY tags.deleted_at
        LIMIT $4
        FOR UPDATE OF tags SKIP LOCKED
    ))
    RETURNING id, deleted_at
), resolutions AS (
    DELETE FROM tag_resolutions USING gone WHERE tag_resolutions.tag_id = gone.id
), history AS (
    DELETE FROM resolution_history USING gone WHERE resolution_history.tag_id = gone.id
)
SELECT id, deleted_at AS since FROM gone;

-- name: lock_unreferenced_blobs
-- Candidates. Who is told of one meanwhile has moved its date, and whoever refers to it has locked it.
SELECT repository_blobs.id, repository_blobs.unreferenced_since AS since
FROM repository_blobs
JOIN repositories ON repositories.id = repository_blobs.repository_id
WHERE repository_blobs.unreferenced_since <= now() - make_interval(secs => $1)
  AND repository_blobs.unreferenced_since >= $2
  AND repository_blobs.deleted_at IS NULL
  AND repositories.registry_id = ANY($3::bigint[])
ORDER BY repository_blobs.unreferenced_since
LIMIT $4
FOR UPDATE OF repository_blobs SKIP LOCKED;

-- name: drop_unreferenced_blobs
-- They are locked: what refers to them now is there for good. The date of those is wrong (their image has joined another
-- one), and is mended.
WITH needed AS (
    UPDATE repository_blobs
    SET unreferenced_since = NULL
    WHERE id = ANY($1::bigint[])
      AND EXISTS (
          SELECT
          FROM manifest_references
          WHERE manifest_references.repository_id = repository_blobs.repository_id
            AND manifest_references.child_digest = repository_blobs.digest
          OFFSET 0
      )
)
DELETE FROM repository_blobs
WHERE id = ANY($1::bigint[])
  AND NOT EXISTS (
      SELECT
      FROM manifest_references
      WHERE manifest_references.repository_id = repository_blobs.repository_id
        AND manifest_references.child_digest = repository_blobs.digest
      OFFSET 0
  )
RETURNING blob_id;

-- name: lock_deleted_blobs
-- Longer ago than can be undone, and not to be revived with a manifest that can be restored still.
SELECT repository_blobs.id, repository_blobs.deleted_at AS since
FROM repository_blobs
JOIN repositories ON repositories.id = repository_blobs.repository_id
WHERE repository_blobs.deleted_at <= now() - make_interval(secs => $1)
  AND repository_blobs.deleted_at >= $2
  AND repositories.registry_id = ANY($3::bigint[])
  AND NOT EXISTS (
      SELECT
      FROM manifest_references
      JOIN manifests ON manifests.id = manifest_references.manifest_id
      WHERE manifest_references.repository_id = repository_blobs.repository_id
        AND manifest_references.child_digest = repository_blobs.digest
        AND manifests.deleted_at IS NOT NULL
      OFFSET 0
  )
ORDER BY repository_blobs.deleted_at
LIMIT $4
FOR UPDATE OF repository_blobs SKIP LOCKED;

-- name: drop_deleted_blobs
-- They are locked.
DELETE FROM repository_blobs
WHERE id = ANY($1::bigint[]) AND deleted_at IS NOT NULL
RETURNING blob_id;

-- name: lock_blobs
-- Whoever publishes or mounts one holds it until that is committed.
SELECT id
FROM blobs
WHERE id = ANY($1::bigint[])
ORDER BY id
FOR UPDATE;

-- name: drop_blobs
-- Those that no repository has any more, deleted or not; their objects are to be removed.
WITH gone AS (
    DELETE FROM blobs
    WHERE id = ANY($1::bigint[])
      AND NOT EXISTS (SELECT FROM repository_blobs WHERE repository_blobs.blob_id = blobs.id OFFSET 0)
    RETURNING object_id, size
)
UPDATE objects
SET state = 'removing'
FROM gone
WHERE objects.id = gone.object_id
RETURNING gone.size;

-- name: lock_empty_repositories
-- Deleted ones with nothing left in them; tags are never without a manifest. Living and deleted rows have an index each.
SELECT id, deleted_at AS since
FROM repositories
WHERE deleted_at <= now() - make_interval(secs => $1)
  AND deleted_at >= $2
  AND registry_id = ANY($3::bigint[])
  AND NOT EXISTS (SELECT FROM deletions WHERE deletions.repository_id = repositories.id OFFSET 0)
  AND NOT EXISTS (
      SELECT FROM repository_blobs WHERE repository_blobs.repository_id = repositories.id AND repository_blobs.deleted_at IS NULL OFFSET 0
  )
  AND NOT EXISTS (
      SELECT FROM repository_blobs WHERE repository_blobs.repository_id = repositories.id AND repository_blobs.deleted_at IS NOT NULL OFFSET 0
  )
  AND NOT EXISTS (
      SELECT FROM manifests WHERE manifests.repository_id = repositories.id AND manifests.deleted_at IS NULL OFFSET 0
  )
  AND NOT EXISTS (
      SELECT FROM manifests WHERE manifests.repository_id = repositories.id AND manifests.deleted_at IS NOT NULL OFFSET 0
  )
ORDER BY deleted_at
LIMIT $4
FOR UPDATE SKIP LOCKED;

-- name: purge_pulls_of_repositories
WITH history AS (
    DELETE FROM pull_history WHERE repository_id = ANY($1::bigint[])
)
DELETE FROM repository_pulls
WHERE repository_id = ANY($1::bigint[]);

-- name: purge_repositories
DELETE FROM repositories
WHERE id = ANY($1::bigint[]);

-- name: measure_queue
-- What is due in living registries; $1 and $2 are the seconds of grace and of restoring.
WITH manifests_due AS (
    SELECT count(*) AS length, min(manifests.deleted_at) AS since
    FROM manifests
    JOIN repositories ON repositories.id = manifests.repository_id
    JOIN registries ON registries.id = repositories.registry_id
    WHERE manifests.deleted_at <= now() - make_interval(secs => $2)
      AND registries.deleted_at IS NULL
      AND registries.storage = $3
), blobs_due AS (
    SELECT count(*) AS length, min(repository_blobs.unreferenced_since) AS since
    FROM repository_blobs
    JOIN repositories ON repositories.id = repository_blobs.repository_id
    JOIN registries ON registries.id = repositories.registry_id
    WHERE repository_blobs.unreferenced_since <= now() - make_interval(secs => $1)
      AND repository_blobs.deleted_at IS NULL
      AND registries.deleted_at IS NULL
      AND registries.storage = $3
)
SELECT manifests_due.length AS manifests, blobs_due.length AS repository_blobs,
       (
           SELECT count(*)
           FROM objects
           JOIN registries ON registries.id = objects.registry_id
           WHERE objects.state = 'removing' AND objects.removed_at IS NULL AND registries.storage = $3
       ) AS objects,
       coalesce(
           extract(epoch FROM greatest(
               now() - make_interval(secs => $2) - manifests_due.since,
               now() - make_interval(secs => $1) - blobs_due.since
           )), 0
       )::float8 AS oldest_seconds
FROM manifests_due, blobs_due;

-- name: estimate_collection
-- What a round would collect: $1 and $2 are the seconds of grace and of restoring, $3 registries, $4 manifests that it has
-- deleted before, because they are without a tag. The same rules as those of the stages, one behind the other.
WITH purged AS MATERIALIZED (
    SELECT manifests.id
    FROM manifests
    JOIN repositories ON repositories.id = manifests.repository_id
    WHERE manifests.deleted_at <= now() - make_interval(secs => $2)
      AND repositories.registry_id = ANY($3::bigint[])
      AND NOT EXISTS (
          SELECT
          FROM deletions
          WHERE deletions.id = manifests.deletion_id AND deletions.deleted_at > now() - make_interval(secs => $2)
      )
    UNION ALL
    SELECT unnest($4::bigint[])
    WHERE $2 = 0
), purged_tags AS (
    SELECT tags.id
    FROM tags
    JOIN repositories ON repositories.id = tags.repository_id
    WHERE tags.deleted_at <= now() - make_interval(secs => $2)
      AND repositories.registry_id = ANY($3::bigint[])
      AND NOT EXISTS (
          SELECT
          FROM deletions
          WHERE deletions.id = tags.deletion_id AND deletions.deleted_at > now() - make_interval(secs => $2)
      )
), due AS (
    SELECT repository_blobs.id, repository_blobs.repository_id, repository_blobs.digest, repository_blobs.blob_id
    FROM repository_blobs
    JOIN repositories ON repositories.id = repository_blobs.repository_id
    WHERE repository_blobs.unreferenced_since <= now() - make_interval(secs => $1)
      AND repository_blobs.deleted_at IS NULL
      AND repositories.registry_id = ANY($3::bigint[])
    UNION
    -- The time of what only purged manifests refer to begins with the round.
    SELECT repository_blobs.id, repository_blobs.repository_id, repository_blobs.digest, repository_blobs.blob_id
    FROM purged
    JOIN manifest_references ON manifest_references.manifest_id = purged.id
    JOIN repository_blobs ON repository_blobs.repository_id = manifest_references.repository_id
        AND repository_blobs.digest = manifest_references.child_digest
    WHERE $1 = 0 AND repository_blobs.deleted_at IS NULL
), dropped AS MATERIALIZED (
    SELECT due.id, due.repository_id, due.blob_id
    FROM due
    WHERE NOT EXISTS (
        SELECT
        FROM manifest_references
        WHERE manifest_references.repository_id = due.repository_id
          AND manifest_references.child_digest = due.digest
          AND manifest_references.manifest_id NOT IN (SELECT id FROM purged)
    )
    UNION ALL
    SELECT repository_blobs.id, repository_blobs.repository_id, repository_blobs.blob_id
    FROM repository_blobs
    JOIN repositories ON repositories.id = repository_blobs.repository_id
    WHERE repository_blobs.deleted_at <= now() - make_interval(secs => $2)
      AND repositories.registry_id = ANY($3::bigint[])
      AND NOT EXISTS (
          SELECT
          FROM manifest_references
          JOIN manifests ON manifests.id = manifest_references.manifest_id
          WHERE manifest_references.repository_id = repository_blobs.repository_id
            AND manifest_references.child_digest = repository_blobs.digest
            AND manifests.deleted_at IS NOT NULL
            AND manifests.id NOT IN (SELECT id FROM purged)
      )
), gone AS (
    SELECT blobs.id, blobs.size
    FROM blobs
    WHERE blobs.id IN (SELECT blob_id FROM dropped)
      AND NOT EXISTS (
          SELECT
          FROM repository_blobs
          WHERE repository_blobs.blob_id = blobs.id AND repository_blobs.id NOT IN (SELECT id FROM dropped)
      )
), images AS (
    SELECT repositories.id
    FROM repositories
    WHERE repositories.deleted_at <= now() - make_interval(secs => $2)
      AND repositories.registry_id = ANY($3::bigint[])
      AND NOT EXISTS (
          SELECT
          FROM deletions
          WHERE deletions.repository_id = repositories.id AND deletions.deleted_at > now() - make_interval(secs => $2)
      )
      AND NOT EXISTS (
          SELECT
          FROM repository_blobs
          WHERE repository_blobs.repository_id = repositories.id
            AND repository_blobs.id NOT IN (SELECT id FROM dropped)
      )
      AND NOT EXISTS (
          SELECT
          FROM manifests
          WHERE manifests.repository_id = repositories.id AND manifests.id NOT IN (SELECT id FROM purged)
      )
)
SELECT (SELECT count(*) FROM purged) AS manifests,
       (SELECT count(*) FROM purged_tags) AS tags,
       (SELECT count(*) FROM images) AS images,
       (SELECT count(*) FROM dropped) AS repository_blobs,
       (SELECT count(*) FROM gone) AS blobs,
       (SELECT coalesce(sum(size), 0)::bigint FROM gone) AS bytes;

-- name: find_places_of_digest
-- Repositories that have the digest as a blob, as a manifest, or both; deleted ones too.
SELECT registries.name AS registry, repositories.id AS repository_id, repositories.name AS repository,
       blob.id IS NOT NULL AS is_blob, blob.unreferenced_since, blob.deleted_at,
       manifest.id AS manifest_id
FROM registries
JOIN repositories ON repositories.registry_id = registries.id
LEFT JOIN LATERAL (
    SELECT repository_blobs.id, repository_blobs.unreferenced_since, repository_blobs.deleted_at
    FROM repository_blobs
    WHERE repository_blobs.repository_id = repositories.id AND repository_blobs.digest = $2
    ORDER BY repository_blobs.deleted_at DESC NULLS FIRST
    LIMIT 1
) AS blob ON true
LEFT JOIN LATERAL (
    SELECT manifests.id
    FROM manifests
    WHERE manifests.repository_id = repositories.id AND manifests.digest = $2
    ORDER BY manifests.deleted_at DESC NULLS FIRST
    LIMIT 1
) AS manifest ON true
WHERE registries.id = ANY($1::bigint[]) AND (blob.id IS NOT NULL OR manifest.id IS NOT NULL)
ORDER BY registries.name, repositories.name, repositories.id
LIMIT $3;

-- name: fetch_needing_manifests
-- Manifests of a repository that need a digest, the living first.
SELECT manifests.id
FROM manifest_references
JOIN manifests ON manifests.id = manifest_references.manifest_id
WHERE manifest_references.repository_id = $1 AND manifest_references.child_digest = $2
GROUP BY manifests.id
ORDER BY manifests.deleted_at DESC NULLS FIRST, manifests.id
LIMIT $3;

-- name: explain_manifest
-- What keeps a manifest by itself: tags, a deletion that can be undone, or the manifest that it is about.
SELECT manifests.digest, manifests.kind, manifests.deleted_at, manifests.repository_id,
       ARRAY(
           SELECT tags.name
           FROM tags
           WHERE tags.manifest_id = manifests.id AND tags.deleted_at IS NULL
           ORDER BY tags.name
           LIMIT $2
       ) AS tags,
       deletions.id AS deletion_id, deletions.kind AS deletion_kind, deletions.deleted_by, subject.id AS subject_id,
       (
           SELECT untagged.since + make_interval(days => repositories.untagged_days)
           FROM untagged_manifests AS untagged
           JOIN repositories ON repositories.id = untagged.repository_id
           WHERE untagged.manifest_id = manifests.id
       ) AS untagged_until
FROM manifests
LEFT JOIN deletions ON deletions.id = manifests.deletion_id
LEFT JOIN manifests AS subject ON subject.repository_id = manifests.repository_id
    AND subject.digest = manifests.subject_digest
    AND subject.deleted_at IS NULL
WHERE manifests.id = $1;
