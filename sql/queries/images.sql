-- name: page_images_by_name
-- A page is found first, by index, and described afterwards. As in all pages: $1 whose, $2 a part of the name in small
-- letters, $3 and $4 where the page before has ended, $5 how many.
SELECT id
FROM repositories
WHERE registry_id = $1
  AND deleted_at IS NULL
  AND strpos(name, $2::text) > 0
  AND (name, id) > ($3::text, $4::bigint)
  AND EXISTS (SELECT FROM manifests WHERE manifests.repository_id = repositories.id AND manifests.deleted_at IS NULL)
ORDER BY name, id
LIMIT $5;

-- name: page_images_by_changed
SELECT id
FROM repositories
WHERE registry_id = $1
  AND deleted_at IS NULL
  AND strpos(name, $2::text) > 0
  AND (changed_at, id) < ($3::timestamptz, $4::bigint)
  AND EXISTS (SELECT FROM manifests WHERE manifests.repository_id = repositories.id AND manifests.deleted_at IS NULL)
ORDER BY changed_at DESC, id DESC
LIMIT $5;

-- name: page_images_by_pulls
SELECT repositories.id
FROM repository_pulls
JOIN repositories ON repositories.id = repository_pulls.repository_id
WHERE repository_pulls.registry_id = $1
  AND repositories.deleted_at IS NULL
  AND strpos(repositories.name, $2::text) > 0
  AND repository_pulls.pulls <= $3::bigint
  AND (repository_pulls.pulls < $3::bigint OR repository_pulls.repository_id > $4::bigint)
  AND EXISTS (SELECT FROM manifests WHERE manifests.repository_id = repositories.id AND manifests.deleted_at IS NULL)
ORDER BY repository_pulls.pulls DESC, repository_pulls.repository_id
LIMIT $5;

-- name: describe_images
SELECT repositories.id, repositories.name, repositories.short_description, repositories.changed_at,
       coalesce(repository_pulls.pulls, 0) AS pulls, repository_pulls.last_pulled_at,
       (SELECT count(*) FROM tags WHERE tags.repository_id = repositories.id AND tags.deleted_at IS NULL) AS tags
FROM repositories
LEFT JOIN repository_pulls ON repository_pulls.repository_id = repositories.id
WHERE repositories.id = ANY($1::bigint[])
ORDER BY array_position($1::bigint[], repositories.id);

-- name: fetch_image
SELECT id, description, tags_mutable, untagged_days, created_at, version
FROM repositories
WHERE registry_id = $1 AND name = $2 AND deleted_at IS NULL;

-- name: measure_image
-- Blobs that living manifests need, each once.
SELECT coalesce(sum(blobs.size), 0)::bigint
FROM repository_blobs
JOIN blobs ON blobs.id = repository_blobs.blob_id
WHERE repository_blobs.repository_id = $1
  AND repository_blobs.deleted_at IS NULL
  AND EXISTS (
      SELECT
      FROM manifest_references
      JOIN manifests ON manifests.id = manifest_references.manifest_id
      WHERE manifest_references.repository_id = repository_blobs.repository_id
        AND manifest_references.child_digest = repository_blobs.digest
        AND manifests.deleted_at IS NULL
  );

-- name: lock_image_settings
SELECT id, short_description, description, tags_mutable, untagged_days, version
FROM repositories
WHERE registry_id = $1 AND name = $2 AND deleted_at IS NULL
FOR NO KEY UPDATE;

-- name: update_image
UPDATE repositories
SET short_description = $2, description = $3, tags_mutable = $4, untagged_days = $5, version = version + 1,
    changed_at = clock_timestamp()
WHERE id = $1;

-- name: page_tags_by_name
SELECT id
FROM tags
WHERE repository_id = $1
  AND deleted_at IS NULL
  AND strpos(lower(name), $2::text) > 0
  AND (name, id) > ($3::text, $4::bigint)
ORDER BY name, id
LIMIT $5;

-- name: page_tags_by_pushed
SELECT id
FROM tags
WHERE repository_id = $1
  AND deleted_at IS NULL
  AND strpos(lower(name), $2::text) > 0
  AND (pushed_at, id) < ($3::timestamptz, $4::bigint)
ORDER BY pushed_at DESC, id DESC
LIMIT $5;

-- name: page_tags_by_pulled
-- Those that nobody has pulled come last. OFFSET 0 keeps each lookup one by index, made once.
SELECT id
FROM (
    SELECT id, coalesce((SELECT last_pulled_at FROM tag_resolutions WHERE tag_id = tags.id), 'epoch') AS pulled_at
    FROM tags
    WHERE repository_id = $1 AND deleted_at IS NULL AND strpos(lower(name), $2::text) > 0
    OFFSET 0
) AS found
WHERE (pulled_at, id) < ($3::timestamptz, $4::bigint)
ORDER BY pulled_at DESC, id DESC
LIMIT $5;

-- name: describe_tags
SELECT tags.id, tags.name, tags.manifest_id, manifests.digest, manifests.media_type, manifests.kind,
       manifests.platforms, manifests.content_size AS size, tags.pushed_at, tags.pushed_by, manifest_figures.pulls,
       coalesce(tag_resolutions.resolutions, 0) AS resolutions, tag_resolutions.last_pulled_at
FROM tags
JOIN manifests ON manifests.id = tags.manifest_id
JOIN manifest_figures ON manifest_figures.manifest_id = tags.manifest_id
LEFT JOIN tag_resolutions ON tag_resolutions.tag_id = tags.id
WHERE tags.id = ANY($1::bigint[])
ORDER BY array_position($1::bigint[], tags.id);

-- name: page_manifests
-- The last pushed first.
SELECT id
FROM manifests
WHERE repository_id = $1 AND deleted_at IS NULL AND id < $2
ORDER BY id DESC
LIMIT $3;

-- name: page_untagged_manifests
-- OFFSET 0 keeps each lookup one by index, however many of them a plan expects.
SELECT id
FROM manifests
WHERE repository_id = $1
  AND deleted_at IS NULL
  AND id < $2
  AND NOT EXISTS (SELECT FROM tags WHERE tags.manifest_id = manifests.id AND tags.deleted_at IS NULL OFFSET 0)
  AND NOT EXISTS (
      SELECT
      FROM manifest_references
      WHERE manifest_references.repository_id = manifests.repository_id
        AND manifest_references.child_digest = manifests.digest
        AND manifest_references.kind = 'child'
        AND (SELECT parent.deleted_at IS NULL FROM manifests AS parent WHERE parent.id = manifest_references.manifest_id)
      OFFSET 0
  )
ORDER BY id DESC
LIMIT $3;

-- name: describe_manifests
SELECT manifests.id, manifests.digest, manifests.media_type, manifests.kind, manifests.platforms,
       manifests.content_size AS size, manifests.created_at AS pushed_at, manifests.pushed_by,
       manifest_figures.pulls, manifest_figures.last_pulled_at,
       ARRAY(
           SELECT tags.name FROM tags WHERE tags.manifest_id = manifests.id AND tags.deleted_at IS NULL ORDER BY tags.name
       ) AS tags
FROM manifests
JOIN manifest_figures ON manifest_figures.manifest_id = manifests.id
WHERE manifests.id = ANY($1::bigint[])
ORDER BY array_position($1::bigint[], manifests.id);

-- name: measure_manifests
-- What a manifest refers to never changes, so it is measured once: its blobs, each once; of an index, the sum of the
-- distinct manifests that can be reached from it. Layers that nobody has pushed take no room.
WITH RECURSIVE reached (root_id, id) AS (
    SELECT id, id FROM unnest($1::bigint[]) AS wanted (id)
    UNION
    SELECT reached.root_id, child.id
    FROM reached
    JOIN manifest_references ON manifest_references.manifest_id = reached.id AND manifest_references.kind = 'child'
    JOIN manifests AS child ON child.repository_id = manifest_references.repository_id
        AND child.digest = manifest_references.child_digest
        AND child.deleted_at IS NULL
), needed AS (
    SELECT DISTINCT reached.root_id, reached.id, manifest_references.repository_id, manifest_references.child_digest
    FROM reached
    JOIN manifest_references ON manifest_references.manifest_id = reached.id
), measured AS (
    SELECT needed.root_id, sum(blobs.size)::bigint AS size
    FROM needed
    JOIN repository_blobs ON repository_blobs.repository_id = needed.repository_id
        AND repository_blobs.digest = needed.child_digest
        AND repository_blobs.deleted_at IS NULL
    JOIN blobs ON blobs.id = repository_blobs.blob_id
    GROUP BY needed.root_id
)
UPDATE manifests
SET content_size = coalesce(measured.size, 0)
FROM unnest($1::bigint[]) AS wanted (id)
LEFT JOIN measured ON measured.root_id = wanted.id
WHERE manifests.id = wanted.id
RETURNING manifests.id, manifests.content_size AS size;

-- name: fetch_config_digests
SELECT manifest_id, child_digest AS digest
FROM manifest_references
WHERE manifest_id = ANY($1::bigint[]) AND kind = 'config';

-- name: record_platforms
-- Each list is a text with commas, since arrays of arrays have all one length.
UPDATE manifests
SET platforms = string_to_array(found.platforms, ',')
FROM unnest($1::bigint[], $2::text[]) AS found (id, platforms)
WHERE manifests.id = found.id AND manifests.platforms IS NULL;
