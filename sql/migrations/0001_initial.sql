-- oldest_program: 1
--
-- The whole house in one go: registries and what they hold, uploads on their way, and what is left of finished ones.
-- Names, tags and digests are COLLATE "C": lists are in ASCII order whatever the database's locale, and prefix scans
-- use the index. Rows that people can delete carry deleted_at; what is unique is unique among the living.

CREATE TABLE registries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Random, 128 bits; part of every object key, so that a name or bucket used again never meets old objects.
    public_id   text COLLATE "C" NOT NULL CONSTRAINT registries_public_id_unique UNIQUE
                CONSTRAINT registries_public_id_form CHECK (public_id ~ '^[0-9a-f]{32}$'),
    name        text COLLATE "C" NOT NULL,
    storage     text COLLATE "C" NOT NULL,
    bucket      text COLLATE "C" NOT NULL,
    -- Counts how often the registry was adopted from its bucket.
    generation  integer NOT NULL DEFAULT 1,
    is_default  boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
CREATE UNIQUE INDEX registries_name_unique ON registries (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX registries_bucket_unique ON registries (storage, bucket) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX registries_default_unique ON registries (is_default) WHERE is_default AND deleted_at IS NULL;

CREATE TABLE repositories (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    registry_id bigint NOT NULL REFERENCES registries,
    name        text COLLATE "C" NOT NULL CONSTRAINT repositories_name_length CHECK (length(name) BETWEEN 1 AND 255),
    created_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
CREATE UNIQUE INDEX repositories_name_unique ON repositories (registry_id, name) WHERE deleted_at IS NULL;

-- One row per key that was ever used in a bucket. writing: an upload session owns it; live: a blob row publishes it;
-- removing: nothing names it any more, and only now may it be deleted in the storage. A removing row stays until the
-- key was deleted a second time, longer after the first than any storage call may hang.
CREATE TABLE objects (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    registry_id  bigint NOT NULL REFERENCES registries,
    key          text COLLATE "C" NOT NULL CONSTRAINT objects_key_unique UNIQUE,
    state        text NOT NULL DEFAULT 'writing'
                 CONSTRAINT objects_state_known CHECK (state IN ('writing', 'live', 'removing')),
    session_id   uuid,
    multipart_id text,
    size         bigint CONSTRAINT objects_size_positive CHECK (size >= 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    removed_at   timestamptz,
    CONSTRAINT objects_size_known CHECK (state <> 'live' OR size IS NOT NULL),
    CONSTRAINT objects_session_writes CHECK (state <> 'writing' OR session_id IS NOT NULL)
);
CREATE INDEX objects_of_session ON objects (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX objects_removing ON objects (id) WHERE state = 'removing';

-- The row that publishes: this digest is to be had, in this object.
CREATE TABLE blobs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    registry_id bigint NOT NULL REFERENCES registries,
    digest      text COLLATE "C" NOT NULL,
    size        bigint NOT NULL CONSTRAINT blobs_size_positive CHECK (size >= 0),
    object_id   bigint NOT NULL CONSTRAINT blobs_object_unique UNIQUE REFERENCES objects,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT blobs_digest_unique UNIQUE (registry_id, digest)
);

CREATE TABLE repository_blobs (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id      bigint NOT NULL REFERENCES repositories,
    blob_id            bigint NOT NULL REFERENCES blobs,
    -- The blob's digest once more: rows are locked in digest order, and found by it on every pull.
    digest             text COLLATE "C" NOT NULL,
    -- Set while no manifest refers to the blob, and renewed when a client is told that the blob is here.
    unreferenced_since timestamptz DEFAULT now(),
    created_at         timestamptz NOT NULL DEFAULT now(),
    deleted_at         timestamptz
);
CREATE UNIQUE INDEX repository_blobs_unique ON repository_blobs (repository_id, digest) WHERE deleted_at IS NULL;
CREATE INDEX repository_blobs_of_blob ON repository_blobs (blob_id);
CREATE INDEX repository_blobs_unreferenced ON repository_blobs (unreferenced_since)
    WHERE unreferenced_since IS NOT NULL AND deleted_at IS NULL;

CREATE TABLE manifests (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id  bigint NOT NULL REFERENCES repositories,
    digest         text COLLATE "C" NOT NULL,
    media_type     text NOT NULL,
    kind           text NOT NULL CONSTRAINT manifests_kind_known
                   CHECK (kind IN ('image', 'index', 'artifact', 'attestation', 'signature', 'cache')),
    raw            bytea NOT NULL,
    subject_digest text COLLATE "C",
    artifact_type  text,
    -- JSON as text, not jsonb: jsonb refuses escaped NULs, which a client may send.
    annotations    text NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT now(),
    deleted_at     timestamptz
);
CREATE UNIQUE INDEX manifests_digest_unique ON manifests (repository_id, digest) WHERE deleted_at IS NULL;
CREATE INDEX manifests_of_subject ON manifests (repository_id, subject_digest, digest)
    WHERE subject_digest IS NOT NULL AND deleted_at IS NULL;

-- What a manifest refers to. Children may be manifests or blobs (BuildKit's caches), so the digest is all there is.
CREATE TABLE manifest_references (
    manifest_id   bigint NOT NULL REFERENCES manifests ON DELETE CASCADE,
    repository_id bigint NOT NULL REFERENCES repositories,
    child_digest  text COLLATE "C" NOT NULL,
    kind          text NOT NULL CONSTRAINT manifest_references_kind_known
                  CHECK (kind IN ('config', 'layer', 'child')),
    PRIMARY KEY (manifest_id, child_digest, kind)
);
CREATE INDEX manifest_references_of_child ON manifest_references (repository_id, child_digest);

CREATE TABLE tags (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id bigint NOT NULL REFERENCES repositories,
    name          text COLLATE "C" NOT NULL CONSTRAINT tags_name_length CHECK (length(name) BETWEEN 1 AND 128),
    manifest_id   bigint NOT NULL REFERENCES manifests,
    created_at    timestamptz NOT NULL DEFAULT now(),
    pushed_at     timestamptz NOT NULL DEFAULT now(),
    deleted_at    timestamptz
);
CREATE UNIQUE INDEX tags_name_unique ON tags (repository_id, name) WHERE deleted_at IS NULL;
CREATE INDEX tags_of_manifest ON tags (manifest_id);

-- An upload on its way. A lease says which process writes; every write names its epoch. There are two checkpoints:
-- committed is the end of the last request that was answered, progress is what is durable of one that was cut off.
-- Each counts its solid bytes, which lie in parts or in the file; behind them a committed checkpoint has a tail.
CREATE TABLE upload_sessions (
    id                    uuid PRIMARY KEY,
    registry_id           bigint NOT NULL REFERENCES registries,
    repository            text COLLATE "C" NOT NULL,
    algorithm             text NOT NULL,
    owner                 text,
    epoch                 bigint NOT NULL DEFAULT 0,
    lease_expires_at      timestamptz,
    target_id             bigint REFERENCES objects,
    part_size             bigint NOT NULL DEFAULT 0,
    part_numbers_reserved integer NOT NULL DEFAULT 0,
    -- Set before the multipart upload is completed for the first time: from then on there may be an object already.
    completing            boolean NOT NULL DEFAULT false,
    committed_offset      bigint NOT NULL DEFAULT 0,
    committed_solid       bigint NOT NULL DEFAULT 0,
    committed_hash_state  bytea,
    tail_part_number      integer,
    tail_part_etag        text,
    progress_solid        bigint NOT NULL DEFAULT 0,
    progress_hash_state   bytea,
    created_at            timestamptz NOT NULL DEFAULT now(),
    expires_at            timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    CONSTRAINT upload_sessions_committed_order CHECK (committed_solid BETWEEN 0 AND committed_offset),
    CONSTRAINT upload_sessions_lease_whole CHECK ((owner IS NULL) = (lease_expires_at IS NULL))
);
CREATE INDEX upload_sessions_expiry ON upload_sessions (expires_at);

CREATE TABLE upload_parts (
    session_id uuid NOT NULL REFERENCES upload_sessions ON DELETE CASCADE,
    number     integer NOT NULL CONSTRAINT upload_parts_number_range CHECK (number BETWEEN 1 AND 10000),
    start      bigint NOT NULL,
    size       bigint NOT NULL,
    etag       text NOT NULL,
    PRIMARY KEY (session_id, number)
);

CREATE TABLE upload_segments (
    session_id uuid NOT NULL REFERENCES upload_sessions ON DELETE CASCADE,
    object_id  bigint NOT NULL REFERENCES objects,
    start      bigint NOT NULL,
    size       bigint NOT NULL,
    PRIMARY KEY (session_id, start)
);

-- What is left of a finished session, so that a client which lost the answer gets it again.
CREATE TABLE upload_tombstones (
    session_id  uuid PRIMARY KEY,
    registry_id bigint NOT NULL REFERENCES registries,
    repository  text COLLATE "C" NOT NULL,
    digest      text COLLATE "C" NOT NULL,
    expires_at  timestamptz NOT NULL DEFAULT now() + interval '1 hour'
);
CREATE INDEX upload_tombstones_expiry ON upload_tombstones (expires_at);
