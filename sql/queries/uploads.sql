-- name: start_upload
INSERT INTO upload_sessions (id, registry_id, repository, algorithm, account_id)
VALUES ($1, $2, $3, $4, $5);

-- name: fetch_upload
SELECT committed_offset, progress_solid, coalesce(lease_expires_at > now(), false) AS leased
FROM upload_sessions
WHERE id = $1 AND registry_id = $2 AND repository = $3 AND account_id IS NOT DISTINCT FROM $4 AND expires_at > now();

-- name: acquire_upload
-- Take the lease, unless somebody else holds it, and choose where to go on: at the progress of a body that was cut
-- off ($3, where there is any), or at the last checkpoint that a client was told of. From then on there is only that.
UPDATE upload_sessions
SET owner = $2,
    epoch = epoch + 1,
    lease_expires_at = now() + interval '15 seconds',
    expires_at = now() + interval '24 hours',
    committed_offset = CASE WHEN $3 AND progress_solid > committed_offset THEN progress_solid ELSE committed_offset END,
    committed_solid = CASE WHEN $3 AND progress_solid > committed_offset THEN progress_solid ELSE committed_solid END,
    committed_hash_state = CASE WHEN $3 AND progress_solid > committed_offset THEN progress_hash_state ELSE committed_hash_state END,
    tail_part_number = CASE WHEN $3 AND progress_solid > committed_offset THEN NULL ELSE tail_part_number END,
    tail_part_etag = CASE WHEN $3 AND progress_solid > committed_offset THEN NULL ELSE tail_part_etag END,
    progress_solid = CASE WHEN $3 AND progress_solid > committed_offset THEN progress_solid ELSE committed_solid END,
    progress_hash_state = NULL
WHERE id = $1
  AND expires_at > now()
  AND (lease_expires_at IS NULL OR lease_expires_at <= now())
RETURNING id, registry_id, repository, algorithm, epoch, target_id, part_size, part_numbers_reserved, completing,
          committed_offset, committed_solid, committed_hash_state, tail_part_number, tail_part_etag;

-- name: delete_parts_beyond
DELETE FROM upload_parts
WHERE session_id = $1 AND start >= $2;

-- name: fetch_target
SELECT key, multipart_id
FROM objects
WHERE id = $1;

-- name: fetch_parts
SELECT number, start, size, etag
FROM upload_parts
WHERE session_id = $1
ORDER BY start;

-- name: fetch_segments
SELECT objects.key, upload_segments.start, upload_segments.size
FROM upload_segments
JOIN objects ON objects.id = upload_segments.object_id
WHERE upload_segments.session_id = $1
ORDER BY upload_segments.start;

-- name: retire_segments_before
-- Segments whose bytes lie in parts now, or that belong to a checkpoint that was given up.
WITH gone AS (
    DELETE FROM upload_segments
    WHERE session_id = $1 AND start < $2
    RETURNING object_id
)
UPDATE objects
SET state = 'removing', session_id = NULL
FROM gone
WHERE objects.id = gone.object_id;

-- name: renew_leases
-- A session that was given back a moment ago has its epoch still, but no owner. A request may take longer
-- than a session lives: its client has the time to go on that anybody has.
UPDATE upload_sessions
SET lease_expires_at = now() + interval '15 seconds', expires_at = now() + interval '24 hours'
FROM unnest($1::uuid[], $2::bigint[]) AS lease (id, epoch)
WHERE upload_sessions.id = lease.id AND upload_sessions.epoch = lease.epoch AND upload_sessions.owner IS NOT NULL
RETURNING upload_sessions.id;

-- name: release_upload
-- Progress that is given up leaves parts behind; whoever goes on deletes them.
UPDATE upload_sessions
SET owner = NULL, lease_expires_at = NULL,
    progress_solid = CASE WHEN $3 THEN progress_solid ELSE committed_solid END
WHERE id = $1 AND epoch = $2;

-- name: ask_for_upload
-- The epoch says which holder is meant: a notification that comes late must not stop whoever holds the lease by then.
SELECT pg_notify('slipway_uploads', id || ' ' || epoch)
FROM upload_sessions
WHERE id = $1;

-- name: insert_target
WITH target AS (
    INSERT INTO objects (registry_id, key, session_id)
    SELECT registry_id, $3, id FROM upload_sessions WHERE id = $1 AND epoch = $2 FOR SHARE
    RETURNING id
)
UPDATE upload_sessions
SET target_id = target.id, part_size = 0, part_numbers_reserved = 0, completing = false
FROM target
WHERE upload_sessions.id = $1 AND upload_sessions.epoch = $2
RETURNING target.id;

-- name: insert_segment_object
INSERT INTO objects (registry_id, key, session_id)
SELECT registry_id, $3, id FROM upload_sessions WHERE id = $1 AND epoch = $2 FOR SHARE
RETURNING id;

-- name: record_multipart
WITH session AS (
    UPDATE upload_sessions
    SET part_size = $4
    WHERE id = $1 AND epoch = $2
    RETURNING target_id
)
UPDATE objects
SET multipart_id = $3
FROM session
WHERE objects.id = session.target_id
RETURNING objects.id;

-- name: reserve_part_numbers
UPDATE upload_sessions
SET part_numbers_reserved = $3
WHERE id = $1 AND epoch = $2
RETURNING id;

-- name: record_completing
UPDATE upload_sessions
SET completing = true
WHERE id = $1 AND epoch = $2
RETURNING id;

-- name: confirm_lease
SELECT id
FROM upload_sessions
WHERE id = $1 AND epoch = $2;

-- name: record_progress
WITH session AS (
    UPDATE upload_sessions
    SET progress_solid = $3, progress_hash_state = $4
    WHERE id = $1 AND epoch = $2
    RETURNING id
), parts AS (
    INSERT INTO upload_parts (session_id, number, start, size, etag)
    SELECT session.id, part.number, part.start, part.size, part.etag
    FROM session, unnest($5::integer[], $6::bigint[], $7::bigint[], $8::text[]) AS part (number, start, size, etag)
)
SELECT id FROM session;

-- name: commit_checkpoint
-- The request is about to be answered: what it left is binding, and the lease is given back. Segments whose bytes lie
-- in parts now are to be removed.
WITH session AS (
    UPDATE upload_sessions
    SET committed_offset = $3, committed_solid = $4, committed_hash_state = $5,
        tail_part_number = $6, tail_part_etag = $7, part_numbers_reserved = $8,
        progress_solid = $4, progress_hash_state = NULL,
        owner = NULL, lease_expires_at = NULL
    WHERE id = $1 AND epoch = $2
    RETURNING id
), gone AS (
    DELETE FROM upload_segments
    USING session
    WHERE upload_segments.session_id = session.id AND upload_segments.start < $4
    RETURNING object_id
), retired AS (
    UPDATE objects
    SET state = 'removing', session_id = NULL
    FROM gone
    WHERE objects.id = gone.object_id
)
SELECT id FROM session;

-- name: insert_segments
INSERT INTO upload_segments (session_id, object_id, start, size)
SELECT $1, objects.id, segment.start, segment.size
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS segment (key, start, size)
JOIN objects ON objects.key = segment.key
ON CONFLICT (session_id, start) DO NOTHING;

-- name: lock_upload
SELECT id
FROM upload_sessions
WHERE id = $1 AND epoch = $2
FOR UPDATE;

-- name: publish_object
UPDATE objects
SET state = 'live', size = $2, session_id = NULL
WHERE key = $1 AND state = 'writing'
RETURNING id;

-- name: retire_object
UPDATE objects
SET state = 'removing', session_id = NULL
WHERE key = $1;

-- name: end_uploads
-- The sessions must be locked. What they have stored and not published is to be removed.
WITH gone AS (
    DELETE FROM upload_sessions
    WHERE id = ANY($1::uuid[])
)
UPDATE objects
SET state = 'removing', session_id = NULL
WHERE session_id = ANY($1::uuid[]);

-- name: lock_upload_to_cancel
SELECT id
FROM upload_sessions
WHERE id = $1 AND registry_id = $2 AND repository = $3 AND account_id IS NOT DISTINCT FROM $4 AND expires_at > now()
FOR UPDATE;

-- name: insert_tombstone
INSERT INTO upload_tombstones (session_id, registry_id, repository, digest, account_id)
SELECT id, $2, $3, $4, account_id
FROM upload_sessions
WHERE id = $1
ON CONFLICT (session_id) DO NOTHING;

-- name: fetch_tombstone
SELECT digest
FROM upload_tombstones
WHERE session_id = $1 AND registry_id = $2 AND repository = $3 AND account_id IS NOT DISTINCT FROM $4
  AND expires_at > now();

-- name: fetch_owners
-- Everybody who works, or worked when it died, in a place.
SELECT DISTINCT owner
FROM upload_sessions
WHERE owner IS NOT NULL AND starts_with(owner, $1);

-- name: release_leases
UPDATE upload_sessions
SET owner = NULL, lease_expires_at = NULL
WHERE owner = ANY($1::text[]);
