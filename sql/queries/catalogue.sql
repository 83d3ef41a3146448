-- name: fetch_waiting_catalogues
-- Living registries of a storage whose catalogue has something to write. At most once a second each.
SELECT registries.id, registries.public_id, registries.bucket, registries.generation
FROM registries
LEFT JOIN catalogue_states AS state ON state.registry_id = registries.id
WHERE registries.deleted_at IS NULL
  AND registries.storage = $1
  AND (state.registry_id IS NULL
       OR NOT state.is_replayed
          AND (state.drawn_at IS NULL OR state.drawn_at <= now() - interval '1 second')
          AND (state.walk_kind IS NOT NULL
               OR EXISTS (SELECT FROM catalogue_outbox WHERE catalogue_outbox.registry_id = registries.id)
               OR EXISTS (SELECT FROM catalogue_segments
                          WHERE catalogue_segments.registry_id = registries.id
                            AND catalogue_segments.content IS NOT NULL)))
ORDER BY registries.id;

-- name: measure_backlog
-- A segment that is drawn has waited since; what it holds is not counted any more.
WITH waiting AS (
    SELECT count(*) AS changes, min(outbox.noted_at) AS since
    FROM catalogue_outbox AS outbox
    JOIN registries ON registries.id = outbox.registry_id
    WHERE registries.deleted_at IS NULL AND registries.storage = $1
), drawn AS (
    SELECT min(state.drawn_at) AS since
    FROM catalogue_segments AS segments
    JOIN catalogue_states AS state USING (registry_id)
    JOIN registries ON registries.id = segments.registry_id
    WHERE segments.content IS NOT NULL AND registries.deleted_at IS NULL AND registries.storage = $1
)
SELECT waiting.changes,
       coalesce(extract(epoch FROM now() - least(waiting.since, drawn.since)), 0)::float8 AS oldest_seconds
FROM waiting, drawn;

-- name: insert_catalogue_state
INSERT INTO catalogue_states (registry_id)
VALUES ($1)
ON CONFLICT DO NOTHING;

-- name: lock_catalogue_state
-- Whoever holds it draws; the others do not wait. Nor does anybody draw for a generation ($2) that is past.
SELECT state.lineage, state.seq, state.last_key, state.base_key, state.base_bytes, state.log_bytes,
       state.walk_kind, state.walk_after, state.walk_key, state.walk_seq, state.is_replayed, now() AS drawn_at
FROM catalogue_states AS state
JOIN registries ON registries.id = state.registry_id
WHERE state.registry_id = $1 AND registries.generation = $2
FOR UPDATE OF state SKIP LOCKED;

-- name: claim_pending_segment
-- For a while: whoever has claimed it may have died, or may still be storing it.
UPDATE catalogue_segments
SET attempted_at = now()
WHERE registry_id = $1 AND content IS NOT NULL AND (attempted_at < now() - interval '10 seconds' OR $2)
RETURNING key, seq, content;

-- name: has_pending_segment
SELECT EXISTS (SELECT FROM catalogue_segments WHERE registry_id = $1 AND content IS NOT NULL);

-- name: take_catalogue_changes
-- As many as fit into $3 bytes, and always one, in the order of the kinds ($4): what is read of an entity may refer to one
-- that was noted later, which must not come in a later segment.
WITH first AS MATERIALIZED (
    SELECT id, kind, entity_id, array_position($4::text[], kind) AS rank
    FROM catalogue_outbox
    WHERE registry_id = $1
    ORDER BY rank, id
    LIMIT $2
), page AS (
    SELECT id, rank, 300 + coalesce(CASE kind
               WHEN 'manifest' THEN (SELECT octet_length(raw) FROM manifests WHERE manifests.id = entity_id)
               WHEN 'repository' THEN (SELECT octet_length(description) FROM repositories WHERE repositories.id = entity_id)
           END, 0) AS size
    FROM first
), measured AS (
    SELECT id, size, sum(size) OVER (ORDER BY rank, id) - size AS bytes_before
    FROM page
)
DELETE FROM catalogue_outbox AS outbox
USING measured
WHERE outbox.registry_id = $1 AND outbox.id = measured.id AND measured.bytes_before < $3
RETURNING outbox.kind, outbox.entity_id, measured.size;

-- name: page_catalogue
-- Ids of one kind behind $3, of all registries, since there is no index by registry; $1 tells which are its own.
SELECT page.id, page.is_own, page.size
FROM (
    (SELECT id, registry_id = $1 AS is_own, 300 + octet_length(description) AS size
     FROM repositories WHERE $2 = 'repository' AND id > $3 ORDER BY id LIMIT $4)
    UNION ALL
    (SELECT id, registry_id = $1, 300 FROM deletions WHERE $2 = 'deletion' AND id > $3 ORDER BY id LIMIT $4)
    UNION ALL
    (SELECT id, registry_id = $1, 300 FROM blobs WHERE $2 = 'blob' AND id > $3 ORDER BY id LIMIT $4)
    UNION ALL
    (SELECT found.id, repositories.registry_id = $1, found.size
     FROM (
         SELECT id, repository_id, 300 + octet_length(raw) AS size
         FROM manifests WHERE $2 = 'manifest' AND id > $3 ORDER BY id LIMIT $4
     ) AS found
     JOIN repositories ON repositories.id = found.repository_id)
    UNION ALL
    (SELECT found.id, repositories.registry_id = $1, 300
     FROM (SELECT id, repository_id FROM tags WHERE $2 = 'tag' AND id > $3 ORDER BY id LIMIT $4) AS found
     JOIN repositories ON repositories.id = found.repository_id)
    UNION ALL
    (SELECT found.id, repositories.registry_id = $1, 300
     FROM (
         SELECT id, repository_id FROM repository_blobs WHERE $2 = 'repository_blob' AND id > $3 ORDER BY id LIMIT $4
     ) AS found
     JOIN repositories ON repositories.id = found.repository_id)
) AS page
ORDER BY page.id;

-- name: fetch_catalogue_records
-- What entities are now, as JSON; those that are missing are gone. Text and not jsonb, which refuses escaped NULs.
SELECT 'registry' AS kind, id, json_build_object(
           'name', name, 'public_endpoint', public_endpoint, 'public_pull', public_pull,
           'public_networks', public_networks, 'private_networks', private_networks,
           'public_delivery', public_delivery, 'private_delivery', private_delivery,
           'delivery_rules', delivery_rules
       )::text AS state
FROM registries
WHERE id = ANY($1::bigint[])
UNION ALL
SELECT 'repository', id, json_build_object(
           'name', name, 'created_at', created_at, 'changed_at', changed_at, 'deleted_at', deleted_at,
           'deletion', deletion_id, 'short_description', short_description, 'description', description,
           'tags_mutable', tags_mutable, 'untagged_days', untagged_days
       )::text
FROM repositories
WHERE id = ANY($2::bigint[])
UNION ALL
SELECT 'deletion', id, json_build_object(
           'repository', repository_id, 'kind', kind, 'tag', tag, 'digest', digest, 'deleted_at', deleted_at,
           'deleted_by', deleted_by, 'restored_at', restored_at
       )::text
FROM deletions
WHERE id = ANY($3::bigint[])
UNION ALL
SELECT 'blob', blobs.id, json_build_object(
           'digest', blobs.digest, 'size', blobs.size, 'key', objects.key, 'created_at', blobs.created_at,
           'withdrawn_at', blobs.withdrawn_at
       )::text
FROM blobs
JOIN objects ON objects.id = blobs.object_id
WHERE blobs.id = ANY($4::bigint[])
UNION ALL
SELECT 'manifest', id, json_build_object(
           'repository', repository_id, 'digest', digest, 'media_type', media_type, 'kind', kind,
           'raw', convert_from(raw, 'UTF8'), 'pushed_by', pushed_by, 'created_at', created_at,
           'deleted_at', deleted_at, 'deletion', deletion_id
       )::text
FROM manifests
WHERE id = ANY($5::bigint[])
UNION ALL
SELECT 'tag', id, json_build_object(
           'repository', repository_id, 'name', name, 'manifest', manifest_id, 'created_at', created_at,
           'pushed_at', pushed_at, 'pushed_by', pushed_by, 'deleted_at', deleted_at, 'deletion', deletion_id
       )::text
FROM tags
WHERE id = ANY($6::bigint[])
UNION ALL
SELECT 'repository_blob', id, json_build_object(
           'repository', repository_id, 'blob', blob_id, 'digest', digest, 'created_at', created_at,
           'deleted_at', deleted_at
       )::text
FROM repository_blobs
WHERE id = ANY($7::bigint[]);

-- name: insert_segment
INSERT INTO catalogue_segments (key, registry_id, seq, size, content, ends_walk)
VALUES ($1, $2, $3, octet_length($4::bytea), $4, $5);

-- name: record_draw
UPDATE catalogue_states
SET seq = $2, walk_kind = $3, walk_after = $4, walk_key = $5, walk_seq = $6, drawn_at = now()
WHERE registry_id = $1;

-- name: begin_walk
UPDATE catalogue_states
SET walk_kind = 'registry', walk_after = 0, walk_key = NULL, walk_seq = NULL, walk_bytes = 0
WHERE registry_id = $1;

-- name: finish_segment
-- Only once, by whoever is first.
UPDATE catalogue_segments
SET content = NULL
WHERE registry_id = $1 AND key = $2 AND content IS NOT NULL
RETURNING size, ends_walk;

-- name: record_stored_segment
-- A series that is whole now is where readers begin.
UPDATE catalogue_states
SET last_key = $2,
    base_key = CASE WHEN $4 THEN walk_key ELSE base_key END,
    base_bytes = CASE WHEN $4 THEN walk_bytes + $3 ELSE base_bytes END,
    log_bytes = CASE WHEN $4 THEN 0 ELSE log_bytes + $3 END,
    walk_bytes = CASE WHEN $4 OR walk_key IS NULL THEN 0 ELSE walk_bytes + $3 END
WHERE registry_id = $1;

-- name: retire_segments_before_walk
-- Those that nobody needs any more, as objects that are to be removed.
WITH gone AS (
    DELETE FROM catalogue_segments
    USING catalogue_states
    WHERE catalogue_states.registry_id = $1
      AND catalogue_segments.registry_id = $1
      AND catalogue_segments.seq < catalogue_states.walk_seq
    RETURNING catalogue_segments.key
)
INSERT INTO objects (registry_id, key, state)
SELECT $1, key, 'removing' FROM gone;

-- name: end_walk
UPDATE catalogue_states
SET walk_key = NULL, walk_seq = NULL
WHERE registry_id = $1;

-- name: fetch_outbox_end
SELECT id
FROM catalogue_outbox
WHERE registry_id = $1
ORDER BY id DESC
LIMIT 1;

-- name: begin_replay
-- Nobody draws from now on; returns whether somebody had begun before and not come to an end.
UPDATE catalogue_states
SET is_replayed = true
FROM (SELECT is_replayed FROM catalogue_states WHERE registry_id = $1 FOR UPDATE) AS before
WHERE catalogue_states.registry_id = $1
RETURNING before.is_replayed;

-- name: insert_found_segments
INSERT INTO catalogue_segments (key, registry_id, seq, size)
SELECT found.key, $1, found.seq, found.size
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS found (key, seq, size)
ON CONFLICT DO NOTHING;

-- name: settle_pending_segment
-- One that was drawn before the database was saved is in the bucket, or will never be needed.
WITH stored AS (
    UPDATE catalogue_segments
    SET content = NULL
    WHERE registry_id = $1 AND content IS NOT NULL AND key = ANY($2::text[])
), gone AS (
    DELETE FROM catalogue_segments
    WHERE registry_id = $1 AND content IS NOT NULL AND NOT key = ANY($2::text[])
    RETURNING key
)
INSERT INTO objects (registry_id, key, state)
SELECT $1, key, 'removing' FROM gone;

-- name: finish_replay
-- What follows has ids of another lineage, so everything is written anew.
UPDATE catalogue_states
SET is_replayed = false, lineage = lineage + 1, seq = greatest(seq, $2), last_key = $3, base_key = $4,
    walk_kind = 'registry', walk_after = 0, walk_key = NULL, walk_seq = NULL, walk_bytes = 0
WHERE registry_id = $1;

-- name: is_catalogue_written
SELECT walk_kind IS NULL
       AND NOT EXISTS (SELECT FROM catalogue_outbox WHERE registry_id = $1 AND id <= $2)
       AND NOT EXISTS (SELECT FROM catalogue_segments WHERE registry_id = $1 AND content IS NOT NULL) AS is_written
FROM catalogue_states
WHERE registry_id = $1;

-- name: fetch_last_segment
SELECT last_key
FROM catalogue_states
WHERE registry_id = $1;

-- name: fetch_database_life
-- What a standby that has taken over, or a database that was put in the place of this one, has another one of.
SELECT pg_postmaster_start_time() || ' ' || oid AS life
FROM pg_database
WHERE datname = current_database();

-- name: fetch_lineage
SELECT lineage
FROM catalogue_states
WHERE registry_id = $1;

-- name: fetch_unknown_segments
SELECT listed.key
FROM unnest($1::text[]) AS listed (key)
WHERE NOT EXISTS (SELECT FROM catalogue_segments WHERE catalogue_segments.key = listed.key)
  AND NOT EXISTS (SELECT FROM objects WHERE objects.key = listed.key);
