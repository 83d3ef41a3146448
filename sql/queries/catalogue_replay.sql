-- name: try_to_replay_alone
-- Held by the session, over all the transactions of whoever brings things back.
SELECT pg_try_advisory_lock(hashtextextended('slipway replay ' || $1::text, 0));

-- name: replay_no_longer_alone
SELECT pg_advisory_unlock(hashtextextended('slipway replay ' || $1::text, 0));

-- name: stage_records
-- The last record of an entity counts.
INSERT INTO catalogue_staging (registry_id, kind, entity_id, state, is_dead)
SELECT $1, record.kind, record.entity_id, record.state::json, record.state::json ->> 'deleted_at' IS NOT NULL
FROM unnest($2::text[], $3::bigint[], $4::text[]) AS record (kind, entity_id, state)
ON CONFLICT (registry_id, kind, entity_id) DO UPDATE SET state = excluded.state, is_dead = excluded.is_dead;

-- name: clear_staging
DELETE FROM catalogue_staging
WHERE registry_id = $1 AND (kind, entity_id) IN (
    SELECT kind, entity_id FROM catalogue_staging WHERE registry_id = $1 LIMIT $2
)
RETURNING entity_id;

-- name: page_staging
-- What is deleted, or ($4) what is not: names that are free again can be taken then.
SELECT entity_id
FROM catalogue_staging
WHERE registry_id = $1 AND kind = $2 AND entity_id > $3 AND state IS NOT NULL AND is_dead = $4
ORDER BY entity_id
LIMIT $5;

-- name: page_gone
SELECT entity_id
FROM catalogue_staging
WHERE registry_id = $1 AND kind = $2 AND entity_id > $3 AND state IS NULL
ORDER BY entity_id
LIMIT $4;

-- name: analyze_staging
-- Else it is taken for an empty table, and read whole for each row.
ANALYZE catalogue_staging;

-- name: count_staging
SELECT count(*)
FROM catalogue_staging
WHERE registry_id = $1 AND kind <> 'registry' AND state IS NOT NULL;

-- name: fetch_staged_settings
SELECT state::text AS state
FROM catalogue_staging
WHERE registry_id = $1 AND kind = 'registry' AND state IS NOT NULL
  AND ($2::timestamptz IS NULL OR NOT EXISTS (
      SELECT FROM catalogue_outbox WHERE registry_id = $1 AND kind = 'registry' AND noted_at > $2
  ))
LIMIT 1;

-- name: page_present
-- Ids behind $3, of all registries; $1 tells which are its own, $4 until when.
SELECT page.id, page.is_own
FROM (
    (SELECT id, registry_id = $1 AND created_at <= $4 AS is_own
     FROM repositories WHERE $2 = 'repository' AND id > $3 ORDER BY id LIMIT $5)
    UNION ALL
    (SELECT id, registry_id = $1 AND deleted_at <= $4
     FROM deletions WHERE $2 = 'deletion' AND id > $3 ORDER BY id LIMIT $5)
    UNION ALL
    (SELECT id, registry_id = $1 AND created_at <= $4 FROM blobs WHERE $2 = 'blob' AND id > $3 ORDER BY id LIMIT $5)
    UNION ALL
    (SELECT found.id, repositories.registry_id = $1 AND found.created_at <= $4
     FROM (
         SELECT id, repository_id, created_at FROM manifests WHERE $2 = 'manifest' AND id > $3 ORDER BY id LIMIT $5
     ) AS found
     JOIN repositories ON repositories.id = found.repository_id)
    UNION ALL
    (SELECT found.id, repositories.registry_id = $1 AND found.created_at <= $4
     FROM (SELECT id, repository_id, created_at FROM tags WHERE $2 = 'tag' AND id > $3 ORDER BY id LIMIT $5) AS found
     JOIN repositories ON repositories.id = found.repository_id)
    UNION ALL
    (SELECT found.id, repositories.registry_id = $1 AND found.created_at <= $4
     FROM (
         SELECT id, repository_id, created_at
         FROM repository_blobs WHERE $2 = 'repository_blob' AND id > $3 ORDER BY id LIMIT $5
     ) AS found
     JOIN repositories ON repositories.id = found.repository_id)
) AS page
ORDER BY page.id;

-- name: stage_absent
INSERT INTO catalogue_staging (registry_id, kind, entity_id)
SELECT $1, $2, present.id
FROM unnest($3::bigint[]) AS present (id)
ON CONFLICT DO NOTHING;

-- name: match_deletions
-- As in all that match: $1 registry, $2 which, $3 until when ids of rows mean the same as those of the catalogue. A row is
-- the same when it has the id and came to be at the same moment; else it may be in the place of one that was made since.
UPDATE catalogue_staging AS staged
SET row_id = coalesce(found.row_id, same.id, nextval('deletions_id_seq')),
    is_new = coalesce(found.row_id, same.id) IS NULL
FROM catalogue_staging AS found
LEFT JOIN deletions AS same
    ON same.id = found.entity_id AND same.registry_id = $1 AND same.deleted_at <= $3
    AND same.deleted_at = (found.state ->> 'deleted_at')::timestamptz
WHERE found.registry_id = $1 AND found.kind = 'deletion' AND found.entity_id = ANY($2::bigint[])
  AND staged.registry_id = $1 AND staged.kind = 'deletion' AND staged.entity_id = found.entity_id;

-- name: match_repositories
UPDATE catalogue_staging AS staged
SET row_id = coalesce(found.row_id, same.id, living.id, nextval('repositories_id_seq')),
    is_new = coalesce(found.row_id, same.id, living.id) IS NULL
FROM catalogue_staging AS found
LEFT JOIN repositories AS same
    ON same.id = found.entity_id AND same.registry_id = $1 AND same.created_at <= $3
    AND same.created_at = (found.state ->> 'created_at')::timestamptz
LEFT JOIN repositories AS living
    ON living.registry_id = $1 AND living.name = found.state ->> 'name' AND living.deleted_at IS NULL
    AND living.created_at > $3
    AND NOT found.is_dead
WHERE found.registry_id = $1 AND found.kind = 'repository' AND found.entity_id = ANY($2::bigint[])
  AND staged.registry_id = $1 AND staged.kind = 'repository' AND staged.entity_id = found.entity_id;

-- name: match_blobs
UPDATE catalogue_staging AS staged
SET row_id = coalesce(found.row_id, living.id, nextval('blobs_id_seq')),
    is_new = coalesce(found.row_id, living.id) IS NULL
FROM catalogue_staging AS found
LEFT JOIN blobs AS living ON living.registry_id = $1 AND living.digest = found.state ->> 'digest'
WHERE found.registry_id = $1 AND found.kind = 'blob' AND found.entity_id = ANY($2::bigint[])
  AND staged.registry_id = $1 AND staged.kind = 'blob' AND staged.entity_id = found.entity_id
  AND $3::timestamptz IS NOT NULL;

-- name: match_manifests
UPDATE catalogue_staging AS staged
SET row_id = coalesce(found.row_id, same.id, living.id, nextval('manifests_id_seq')),
    is_new = coalesce(found.row_id, same.id, living.id) IS NULL
FROM (
    SELECT each.entity_id, state.digest, state.created_at, NOT each.is_dead AS is_alive, each.row_id,
           CASE WHEN home.entity_id IS NULL THEN catalogue_row($1, 'repository', state.repository, $3)
                ELSE home.row_id END AS repository_id
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (digest text, created_at timestamptz, repository bigint)
    LEFT JOIN catalogue_staging AS home
        ON home.registry_id = $1 AND home.kind = 'repository' AND home.entity_id = state.repository
    WHERE each.registry_id = $1 AND each.kind = 'manifest' AND each.entity_id = ANY($2::bigint[])
    OFFSET 0
) AS found
LEFT JOIN manifests AS same
    ON same.id = found.entity_id AND same.created_at <= $3 AND same.created_at = found.created_at
    AND same.digest = found.digest
    AND EXISTS (SELECT FROM repositories WHERE repositories.id = same.repository_id AND repositories.registry_id = $1)
LEFT JOIN manifests AS living
    ON living.repository_id = found.repository_id AND living.digest = found.digest AND living.deleted_at IS NULL
    AND living.created_at > $3 AND found.is_alive
WHERE staged.registry_id = $1 AND staged.kind = 'manifest' AND staged.entity_id = found.entity_id;

-- name: match_tags
UPDATE catalogue_staging AS staged
SET row_id = coalesce(found.row_id, same.id, living.id, nextval('tags_id_seq')),
    is_new = coalesce(found.row_id, same.id, living.id) IS NULL
FROM (
    SELECT each.entity_id, state.name, state.created_at, NOT each.is_dead AS is_alive, each.row_id,
           CASE WHEN home.entity_id IS NULL THEN catalogue_row($1, 'repository', state.repository, $3)
                ELSE home.row_id END AS repository_id
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (name text, created_at timestamptz, repository bigint)
    LEFT JOIN catalogue_staging AS home
        ON home.registry_id = $1 AND home.kind = 'repository' AND home.entity_id = state.repository
    WHERE each.registry_id = $1 AND each.kind = 'tag' AND each.entity_id = ANY($2::bigint[])
    OFFSET 0
) AS found
LEFT JOIN tags AS same
    ON same.id = found.entity_id AND same.created_at <= $3 AND same.created_at = found.created_at
    AND same.name = found.name
    AND EXISTS (SELECT FROM repositories WHERE repositories.id = same.repository_id AND repositories.registry_id = $1)
LEFT JOIN tags AS living
    ON living.repository_id = found.repository_id AND living.name = found.name AND living.deleted_at IS NULL
    AND living.created_at > $3 AND found.is_alive
WHERE staged.registry_id = $1 AND staged.kind = 'tag' AND staged.entity_id = found.entity_id;

-- name: match_repository_blobs
UPDATE catalogue_staging AS staged
SET row_id = coalesce(found.row_id, same.id, living.id, nextval('repository_blobs_id_seq')),
    is_new = coalesce(found.row_id, same.id, living.id) IS NULL
FROM (
    SELECT each.entity_id, state.digest, state.created_at, NOT each.is_dead AS is_alive, each.row_id,
           CASE WHEN home.entity_id IS NULL THEN catalogue_row($1, 'repository', state.repository, $3)
                ELSE home.row_id END AS repository_id
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (digest text, created_at timestamptz, repository bigint)
    LEFT JOIN catalogue_staging AS home
        ON home.registry_id = $1 AND home.kind = 'repository' AND home.entity_id = state.repository
    WHERE each.registry_id = $1 AND each.kind = 'repository_blob' AND each.entity_id = ANY($2::bigint[])
    OFFSET 0
) AS found
LEFT JOIN repository_blobs AS same
    ON same.id = found.entity_id AND same.created_at <= $3 AND same.created_at = found.created_at
    AND same.digest = found.digest
    AND EXISTS (SELECT FROM repositories WHERE repositories.id = same.repository_id AND repositories.registry_id = $1)
LEFT JOIN repository_blobs AS living
    ON living.repository_id = found.repository_id AND living.digest = found.digest AND living.deleted_at IS NULL
    AND living.created_at > $3 AND found.is_alive
WHERE staged.registry_id = $1 AND staged.kind = 'repository_blob' AND staged.entity_id = found.entity_id;

-- name: keep_changed_rows
-- What has changed here since then is later than what the catalogue says.
UPDATE catalogue_staging
SET is_kept = row_id IN (
    SELECT entity_id FROM catalogue_outbox WHERE registry_id = $1 AND kind = $2 AND noted_at > $4
)
WHERE registry_id = $1 AND kind = $2 AND entity_id = ANY($3::bigint[]);

-- name: bring_repositories
-- As in all that bring: $1 registry, $2 which, $3 as for those that match. A name that somebody else has by now stays
-- theirs.
INSERT INTO repositories (id, registry_id, name, created_at, changed_at, deleted_at, deletion_id, short_description,
                          description, tags_mutable, untagged_days)
OVERRIDING SYSTEM VALUE
SELECT found.row_id, $1, state.name, state.created_at, state.changed_at, state.deleted_at,
       CASE WHEN state.deletion IS NOT NULL THEN catalogue_row($1, 'deletion', state.deletion, $3) END,
       state.short_description, state.description, state.tags_mutable, state.untagged_days
FROM catalogue_staging AS found
CROSS JOIN json_to_record(found.state) AS state (
    name text, created_at timestamptz, changed_at timestamptz, deleted_at timestamptz, deletion bigint,
    short_description text, description text, tags_mutable boolean,
    untagged_days integer
)
WHERE found.registry_id = $1 AND found.kind = 'repository' AND found.entity_id = ANY($2::bigint[])
  AND NOT found.is_kept
  AND NOT EXISTS (
      SELECT
      FROM repositories AS other
      WHERE other.registry_id = $1 AND other.name = state.name AND other.deleted_at IS NULL
        AND state.deleted_at IS NULL AND other.id <> found.row_id
  )
ORDER BY found.row_id
ON CONFLICT (id) DO UPDATE
SET changed_at = greatest(repositories.changed_at, excluded.changed_at), deleted_at = excluded.deleted_at,
    deletion_id = excluded.deletion_id, short_description = excluded.short_description,
    description = excluded.description, tags_mutable = excluded.tags_mutable, untagged_days = excluded.untagged_days,
    version = repositories.version + 1;

-- name: bring_repository_pulls
-- Every repository has a row.
INSERT INTO repository_pulls (repository_id, registry_id)
SELECT repositories.id, $1
FROM catalogue_staging AS found
JOIN repositories ON repositories.id = found.row_id
WHERE found.registry_id = $1 AND found.kind = 'repository' AND found.entity_id = ANY($2::bigint[])
ON CONFLICT DO NOTHING;

-- name: bring_deletions
WITH found AS MATERIALIZED (
    SELECT each.row_id, state.*,
           CASE WHEN home.entity_id IS NULL THEN catalogue_row($1, 'repository', state.repository, $3)
                ELSE home.row_id END AS repository_id
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (
        repository bigint, kind text, tag text, digest text, deleted_at timestamptz, deleted_by text,
        restored_at timestamptz
    )
    LEFT JOIN catalogue_staging AS home
        ON home.registry_id = $1 AND home.kind = 'repository' AND home.entity_id = state.repository
    WHERE each.registry_id = $1 AND each.kind = 'deletion' AND each.entity_id = ANY($2::bigint[]) AND NOT each.is_kept
)
INSERT INTO deletions (id, registry_id, repository_id, kind, tag, digest, deleted_at, deleted_by, restored_at)
OVERRIDING SYSTEM VALUE
SELECT found.row_id, $1, repositories.id, found.kind, found.tag, found.digest, found.deleted_at, found.deleted_by,
       found.restored_at
FROM found
JOIN repositories ON repositories.id = found.repository_id
ORDER BY found.row_id
ON CONFLICT (id) DO UPDATE SET repository_id = excluded.repository_id, restored_at = excluded.restored_at;

-- name: bring_objects
-- Of a blob that was changed here later, the catalogue's object is one too many. Keys of others are not touched. One that
-- an upload was writing when the database was saved was finished since; also where that upload ended with its registry,
-- of which nothing is removed while the bucket knows more.
INSERT INTO objects AS known (registry_id, key, state, size)
SELECT $1, found.state ->> 'key', CASE WHEN found.is_kept THEN 'removing' ELSE 'live' END,
       (found.state ->> 'size')::bigint
FROM catalogue_staging AS found
WHERE found.registry_id = $1 AND found.kind = 'blob' AND found.entity_id = ANY($2::bigint[])
  AND starts_with(found.state ->> 'key', $3)
ORDER BY found.state ->> 'key'
ON CONFLICT (key) DO UPDATE
SET state = 'live', size = excluded.size, session_id = NULL, registry_id = excluded.registry_id
WHERE excluded.state = 'live'
  AND (known.state = 'writing' AND known.registry_id = excluded.registry_id
       OR known.state = 'removing' AND known.removed_at IS NULL AND known.registry_id <> excluded.registry_id);

-- name: end_finished_uploads
-- Uploads of which a blob has an object, the target or a segment: nobody goes on with them.
UPDATE upload_sessions
SET epoch = epoch + 1, owner = NULL, lease_expires_at = NULL, expires_at = now()
WHERE registry_id = $1
  AND expires_at > now()
  AND EXISTS (
      SELECT
      FROM objects
      WHERE objects.id = upload_sessions.target_id AND objects.state = 'live'
      UNION ALL
      SELECT
      FROM upload_segments
      JOIN objects ON objects.id = upload_segments.object_id
      WHERE upload_segments.session_id = upload_sessions.id AND objects.state = 'live'
  );

-- name: bring_blobs
-- OFFSET 0 keeps each lookup one by index, whatever is known of how large the tables are.
WITH found AS MATERIALIZED (
    SELECT each.row_id, state.*
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (
        digest text, size bigint, key text, created_at timestamptz, withdrawn_at timestamptz
    )
    WHERE each.registry_id = $1 AND each.kind = 'blob' AND each.entity_id = ANY($2::bigint[]) AND each.is_new
)
INSERT INTO blobs (id, registry_id, digest, size, object_id, created_at, withdrawn_at)
OVERRIDING SYSTEM VALUE
SELECT found.row_id, $1, found.digest, found.size, object.id, found.created_at, found.withdrawn_at
FROM found
CROSS JOIN LATERAL (
    SELECT id
    FROM objects
    WHERE objects.key = found.key AND objects.registry_id = $1 AND objects.state = 'live'
    OFFSET 0
) AS object
ORDER BY found.digest;

-- name: update_brought_blobs
-- Those that are here already, and were withdrawn or mended in the time that was lost: then the object of before is gone.
WITH found AS MATERIALIZED (
    SELECT blobs.id, blobs.object_id AS former_id, object.id AS object_id, object.size, state.withdrawn_at
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (key text, withdrawn_at timestamptz)
    JOIN blobs ON blobs.id = each.row_id
    JOIN objects AS object ON object.key = state.key AND object.registry_id = $1 AND object.state = 'live'
    WHERE each.registry_id = $1 AND each.kind = 'blob' AND each.entity_id = ANY($2::bigint[])
      AND NOT each.is_new AND NOT each.is_kept
      AND (blobs.object_id, blobs.withdrawn_at) IS DISTINCT FROM (object.id, state.withdrawn_at)
    ORDER BY blobs.id
    FOR UPDATE OF blobs
), retired AS (
    UPDATE objects
    SET state = 'removing'
    FROM found
    WHERE objects.id = found.former_id AND found.former_id <> found.object_id
)
UPDATE blobs
SET object_id = found.object_id, size = found.size, withdrawn_at = found.withdrawn_at
FROM found
WHERE blobs.id = found.id;

-- name: update_brought_manifests
-- Those that are here already.
WITH found AS MATERIALIZED (
    SELECT each.row_id, state.digest, state.deleted_at,
           CASE WHEN home.entity_id IS NULL THEN catalogue_row($1, 'repository', state.repository, $3)
                ELSE home.row_id END AS repository_id,
           CASE WHEN state.deletion IS NOT NULL THEN catalogue_row($1, 'deletion', state.deletion, $3)
                END AS deletion_id
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (
        repository bigint, digest text, deleted_at timestamptz, deletion bigint
    )
    LEFT JOIN catalogue_staging AS home
        ON home.registry_id = $1 AND home.kind = 'repository' AND home.entity_id = state.repository
    WHERE each.registry_id = $1 AND each.kind = 'manifest' AND each.entity_id = ANY($2::bigint[])
      AND NOT each.is_new AND NOT each.is_kept
)
UPDATE manifests
SET repository_id = found.repository_id, deleted_at = found.deleted_at, deletion_id = found.deletion_id
FROM found
JOIN repositories ON repositories.id = found.repository_id
WHERE manifests.id = found.row_id
  AND NOT EXISTS (
      SELECT
      FROM manifests AS other
      WHERE other.repository_id = found.repository_id AND other.digest = found.digest AND other.deleted_at IS NULL
        AND found.deleted_at IS NULL AND other.id <> found.row_id
  );

-- name: fetch_new_manifests
WITH found AS MATERIALIZED (
    SELECT each.row_id, state.*,
           CASE WHEN home.entity_id IS NULL THEN catalogue_row($1, 'repository', state.repository, $3)
                ELSE home.row_id END AS repository_id,
           CASE WHEN state.deletion IS NOT NULL THEN catalogue_row($1, 'deletion', state.deletion, $3)
                END AS deletion_id
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (
        repository bigint, digest text, media_type text, kind text, raw text, pushed_by text, created_at timestamptz,
        deleted_at timestamptz, deletion bigint
    )
    LEFT JOIN catalogue_staging AS home
        ON home.registry_id = $1 AND home.kind = 'repository' AND home.entity_id = state.repository
    WHERE each.registry_id = $1 AND each.kind = 'manifest' AND each.entity_id = ANY($2::bigint[]) AND each.is_new
)
SELECT found.row_id, found.repository_id, found.digest, found.media_type, found.kind, found.raw, found.pushed_by,
       found.created_at, found.deleted_at, found.deletion_id
FROM found
JOIN repositories ON repositories.id = found.repository_id
ORDER BY found.row_id;

-- name: bring_manifest
INSERT INTO manifests (id, repository_id, digest, media_type, kind, raw, subject_digest, artifact_type, annotations,
                       pushed_by, created_at, deleted_at, deletion_id, platforms)
OVERRIDING SYSTEM VALUE
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: bring_tags
WITH found AS MATERIALIZED (
    SELECT each.row_id, state.*,
           CASE WHEN home.entity_id IS NULL THEN catalogue_row($1, 'repository', state.repository, $3)
                ELSE home.row_id END AS repository_id,
           CASE WHEN target.entity_id IS NULL THEN catalogue_row($1, 'manifest', state.manifest, $3)
                ELSE target.row_id END AS manifest_id,
           CASE WHEN state.deletion IS NOT NULL THEN catalogue_row($1, 'deletion', state.deletion, $3)
                END AS deletion_id
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (
        repository bigint, name text, manifest bigint, created_at timestamptz, pushed_at timestamptz, pushed_by text,
        deleted_at timestamptz, deletion bigint
    )
    LEFT JOIN catalogue_staging AS home
        ON home.registry_id = $1 AND home.kind = 'repository' AND home.entity_id = state.repository
    LEFT JOIN catalogue_staging AS target
        ON target.registry_id = $1 AND target.kind = 'manifest' AND target.entity_id = state.manifest
    WHERE each.registry_id = $1 AND each.kind = 'tag' AND each.entity_id = ANY($2::bigint[]) AND NOT each.is_kept
)
INSERT INTO tags (id, repository_id, name, manifest_id, created_at, pushed_at, pushed_by, deleted_at, deletion_id)
OVERRIDING SYSTEM VALUE
SELECT found.row_id, repositories.id, found.name, manifests.id, found.created_at, found.pushed_at, found.pushed_by,
       found.deleted_at, found.deletion_id
FROM found
JOIN repositories ON repositories.id = found.repository_id
JOIN manifests ON manifests.id = found.manifest_id
WHERE NOT EXISTS (
    SELECT
    FROM tags AS other
    WHERE other.repository_id = found.repository_id AND other.name = found.name AND other.deleted_at IS NULL
      AND found.deleted_at IS NULL AND other.id <> found.row_id
)
ORDER BY found.name
ON CONFLICT (id) DO UPDATE
SET repository_id = excluded.repository_id, manifest_id = excluded.manifest_id, pushed_at = excluded.pushed_at,
    pushed_by = excluded.pushed_by, deleted_at = excluded.deleted_at, deletion_id = excluded.deletion_id;

-- name: bring_repository_blobs
WITH found AS MATERIALIZED (
    SELECT each.row_id, state.*,
           CASE WHEN home.entity_id IS NULL THEN catalogue_row($1, 'repository', state.repository, $3)
                ELSE home.row_id END AS repository_id,
           CASE WHEN target.entity_id IS NULL THEN catalogue_row($1, 'blob', state.blob, $3)
                ELSE target.row_id END AS blob_id
    FROM catalogue_staging AS each
    CROSS JOIN json_to_record(each.state) AS state (
        repository bigint, blob bigint, digest text, created_at timestamptz, deleted_at timestamptz
    )
    LEFT JOIN catalogue_staging AS home
        ON home.registry_id = $1 AND home.kind = 'repository' AND home.entity_id = state.repository
    LEFT JOIN catalogue_staging AS target
        ON target.registry_id = $1 AND target.kind = 'blob' AND target.entity_id = state.blob
    WHERE each.registry_id = $1 AND each.kind = 'repository_blob' AND each.entity_id = ANY($2::bigint[])
      AND NOT each.is_kept
)
INSERT INTO repository_blobs (id, repository_id, blob_id, digest, created_at, deleted_at)
OVERRIDING SYSTEM VALUE
SELECT found.row_id, repositories.id, blobs.id, blobs.digest, found.created_at, found.deleted_at
FROM found
JOIN repositories ON repositories.id = found.repository_id
JOIN blobs ON blobs.id = found.blob_id AND blobs.digest = found.digest
WHERE NOT EXISTS (
    SELECT
    FROM repository_blobs AS other
    WHERE other.repository_id = found.repository_id AND other.digest = found.digest AND other.deleted_at IS NULL
      AND found.deleted_at IS NULL AND other.id <> found.row_id
)
ORDER BY blobs.digest
ON CONFLICT (id) DO UPDATE
SET repository_id = excluded.repository_id, blob_id = excluded.blob_id, deleted_at = excluded.deleted_at;

-- name: page_brought_repositories
SELECT id
FROM repositories
WHERE registry_id = $1 AND id > $2
ORDER BY id
LIMIT $3;

-- name: settle_references
-- What a manifest refers to is not without references, everything else is from now on.
UPDATE repository_blobs
SET unreferenced_since = CASE WHEN unreferenced_since IS NULL THEN now() END
WHERE repository_id = $1
  AND (unreferenced_since IS NULL) <> EXISTS (
      SELECT
      FROM manifest_references
      WHERE manifest_references.repository_id = $1
        AND manifest_references.child_digest = repository_blobs.digest
  );

-- name: settle_changes
-- When a repository has changed last, by what is in it; and when it was that nobody knew when its manifests were pulled and
-- lost their tags.
UPDATE repositories
SET untagged_from = now(), changed_at = greatest(
    changed_at, deleted_at,
    (SELECT max(greatest(created_at, deleted_at)) FROM manifests WHERE repository_id = $1),
    (SELECT max(greatest(pushed_at, deleted_at)) FROM tags WHERE repository_id = $1 AND deleted_at IS NULL)
)
WHERE id = $1;

-- name: find_former_registry
-- A deleted registry that was not taken over since ($4): what is known of its images is true still.
SELECT id, public_id, bucket, generation
FROM registries
WHERE public_id = $1 AND storage = $2 AND bucket = $3 AND generation = $4 AND deleted_at IS NOT NULL
ORDER BY id DESC
LIMIT 1;

-- name: list_former_registries
SELECT id
FROM registries
WHERE public_id = $1 AND deleted_at IS NOT NULL AND id <> $2
ORDER BY id;

-- name: page_repositories_of_registry
SELECT id
FROM repositories
WHERE registry_id = $1
ORDER BY id
LIMIT $2;

-- name: forget_tags
-- As in all that forget and drop: what was counted of them goes with them.
WITH gone AS (
    DELETE FROM tags
    WHERE manifest_id IN (
        SELECT id FROM manifests WHERE repository_id = $1 AND deleted_at IS NULL
        UNION ALL
        SELECT id FROM manifests WHERE repository_id = $1 AND deleted_at IS NOT NULL
    )
    RETURNING id
), history AS (
    DELETE FROM resolution_history USING gone WHERE resolution_history.tag_id = gone.id
)
DELETE FROM tag_resolutions
USING gone
WHERE tag_resolutions.tag_id = gone.id;

-- name: forget_manifests
WITH gone AS (
    DELETE FROM manifests
    WHERE (repository_id = $1 AND deleted_at IS NULL) OR (repository_id = $1 AND deleted_at IS NOT NULL)
    RETURNING id
), losses AS (
    DELETE FROM tag_losses USING gone WHERE tag_losses.manifest_id = gone.id
)
DELETE FROM manifest_pulls
USING gone
WHERE manifest_pulls.manifest_id = gone.id;

-- name: forget_repository_blobs
DELETE FROM repository_blobs
WHERE (repository_id = $1 AND deleted_at IS NULL) OR (repository_id = $1 AND deleted_at IS NOT NULL);

-- name: forget_deletions
DELETE FROM deletions
WHERE repository_id = $1;

-- name: forget_repository_pulls
WITH history AS (
    DELETE FROM pull_history WHERE repository_id = $1
)
DELETE FROM repository_pulls
WHERE repository_id = $1;

-- name: forget_repository
DELETE FROM repositories
WHERE id = $1;

-- name: forget_blobs
WITH gone AS (
    DELETE FROM blobs
    WHERE id IN (SELECT id FROM blobs WHERE registry_id = $1 LIMIT $2)
    RETURNING object_id
)
DELETE FROM objects
USING gone
WHERE objects.id = gone.object_id
RETURNING objects.id;

-- name: inherit_removing_objects
UPDATE objects
SET registry_id = $2
WHERE registry_id = $1 AND state = 'removing';

-- name: forget_segments
DELETE FROM catalogue_segments
WHERE registry_id = $1;

-- name: forget_catalogue_state
DELETE FROM catalogue_states
WHERE registry_id = $1;

-- name: forget_changes
DELETE FROM catalogue_outbox
WHERE registry_id = $1;

-- name: retire_catalogue_keys
-- Segments that somebody else has written, and that nobody needs any more.
INSERT INTO objects (registry_id, key, state)
SELECT $1, listed.key, 'removing'
FROM unnest($2::text[]) AS listed (key)
WHERE NOT EXISTS (SELECT FROM catalogue_segments WHERE catalogue_segments.key = listed.key)
ON CONFLICT (key) DO NOTHING;

-- name: count_new
SELECT count(*)
FROM catalogue_staging
WHERE registry_id = $1 AND kind = $2 AND entity_id = ANY($3::bigint[]) AND is_new;

-- name: move_references_of_brought
UPDATE manifest_references
SET repository_id = manifests.repository_id
FROM catalogue_staging AS found
JOIN manifests ON manifests.id = found.row_id
WHERE found.registry_id = $1 AND found.kind = 'manifest' AND found.entity_id = ANY($2::bigint[])
  AND manifest_references.manifest_id = manifests.id
  AND manifest_references.repository_id <> manifests.repository_id;

-- name: drop_gone_tags
-- As in all that drop: $1 registry, $2 which, $3 until when ids mean the same. What was changed since stays.
WITH gone AS (
    DELETE FROM tags
    USING repositories
    WHERE tags.id = ANY($2::bigint[]) AND tags.created_at <= $3
      AND repositories.id = tags.repository_id AND repositories.registry_id = $1
      AND tags.id NOT IN (
          SELECT entity_id FROM catalogue_outbox WHERE registry_id = $1 AND kind = 'tag' AND noted_at > $3
      )
    RETURNING tags.id
), history AS (
    DELETE FROM resolution_history USING gone WHERE resolution_history.tag_id = gone.id
)
DELETE FROM tag_resolutions
USING gone
WHERE tag_resolutions.tag_id = gone.id;

-- name: drop_gone_manifests
WITH gone AS (
    DELETE FROM manifests
    USING repositories
    WHERE manifests.id = ANY($2::bigint[]) AND manifests.created_at <= $3
      AND repositories.id = manifests.repository_id AND repositories.registry_id = $1
      AND manifests.id NOT IN (
          SELECT entity_id FROM catalogue_outbox WHERE registry_id = $1 AND kind = 'manifest' AND noted_at > $3
      )
      AND NOT EXISTS (SELECT FROM tags WHERE tags.manifest_id = manifests.id)
    RETURNING manifests.id
), losses AS (
    DELETE FROM tag_losses USING gone WHERE tag_losses.manifest_id = gone.id
)
DELETE FROM manifest_pulls
USING gone
WHERE manifest_pulls.manifest_id = gone.id;

-- name: lock_gone_blobs
-- The locking rule of references.
SELECT repository_blobs.id
FROM repository_blobs
JOIN blobs ON blobs.id = repository_blobs.blob_id
WHERE blobs.registry_id = $1 AND blobs.id = ANY($2::bigint[])
ORDER BY repository_blobs.digest, repository_blobs.id
FOR UPDATE OF repository_blobs;

-- name: drop_repository_blobs_of_gone
-- The object was removed: whoever needs the blob has to push it again.
DELETE FROM repository_blobs
USING blobs
WHERE blobs.id = repository_blobs.blob_id
  AND blobs.registry_id = $1 AND blobs.id = ANY($2::bigint[]) AND blobs.created_at <= $3;

-- name: drop_gone_blobs
WITH gone AS (
    DELETE FROM blobs
    WHERE registry_id = $1 AND id = ANY($2::bigint[]) AND created_at <= $3
    RETURNING object_id
)
UPDATE objects
SET state = 'removing'
FROM gone
WHERE objects.id = gone.object_id;

-- name: lock_gone_repository_blobs
SELECT repository_blobs.id
FROM repository_blobs
WHERE repository_blobs.id = ANY($1::bigint[])
ORDER BY repository_blobs.digest, repository_blobs.id
FOR UPDATE;

-- name: drop_gone_repository_blobs
DELETE FROM repository_blobs
USING repositories
WHERE repository_blobs.id = ANY($2::bigint[]) AND repository_blobs.created_at <= $3
  AND repositories.id = repository_blobs.repository_id AND repositories.registry_id = $1
  AND repository_blobs.id NOT IN (
      SELECT entity_id FROM catalogue_outbox WHERE registry_id = $1 AND kind = 'repository_blob' AND noted_at > $3
  )
  AND NOT EXISTS (
      SELECT
      FROM manifest_references
      WHERE manifest_references.repository_id = repository_blobs.repository_id
        AND manifest_references.child_digest = repository_blobs.digest
  );

-- name: drop_gone_deletions
DELETE FROM deletions
WHERE registry_id = $1 AND id = ANY($2::bigint[]) AND deleted_at <= $3
  AND id NOT IN (
      SELECT entity_id FROM catalogue_outbox WHERE registry_id = $1 AND kind = 'deletion' AND noted_at > $3
  );

-- name: drop_gone_repositories
-- Those in which nothing is left.
WITH gone AS (
    DELETE FROM repositories
    WHERE registry_id = $1 AND id = ANY($2::bigint[]) AND created_at <= $3
      AND NOT EXISTS (SELECT FROM manifests WHERE manifests.repository_id = repositories.id)
      AND NOT EXISTS (SELECT FROM tags WHERE tags.repository_id = repositories.id)
      AND NOT EXISTS (SELECT FROM repository_blobs WHERE repository_blobs.repository_id = repositories.id)
      AND NOT EXISTS (SELECT FROM deletions WHERE deletions.repository_id = repositories.id)
    RETURNING id
), history AS (
    DELETE FROM pull_history USING gone WHERE pull_history.repository_id = gone.id
)
DELETE FROM repository_pulls
USING gone
WHERE repository_pulls.repository_id = gone.id;

-- name: forget_staging
DELETE FROM catalogue_staging
WHERE registry_id = $1;
