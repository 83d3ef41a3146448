-- oldest_program: 1
--
-- Pull counters. Ids without foreign keys: a batch that names something that was deleted meanwhile must not fail.

-- The highest number of each journal whose batch was added. The row goes when the journal was emptied and deleted.
CREATE TABLE pull_journals (
    id         uuid PRIMARY KEY,
    applied    bigint NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Every repository has a row, so that lists sorted by pulls are read from the index.
CREATE TABLE repository_pulls (
    repository_id  bigint PRIMARY KEY,
    registry_id    bigint NOT NULL,
    pulls          bigint NOT NULL DEFAULT 0,
    last_pulled_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX repository_pulls_top ON repository_pulls (registry_id, pulls DESC, repository_id);
INSERT INTO repository_pulls (repository_id, registry_id) SELECT id, registry_id FROM repositories;

CREATE TABLE manifest_pulls (
    manifest_id    bigint PRIMARY KEY,
    pulls          bigint NOT NULL,
    last_pulled_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- By access key; 0 is everybody who had none.
CREATE TABLE key_pulls (
    registry_id    bigint NOT NULL,
    key_id         bigint NOT NULL,
    pulls          bigint NOT NULL,
    last_pulled_at timestamptz NOT NULL,
    PRIMARY KEY (registry_id, key_id)
) WITH (fillfactor = 70);

CREATE TABLE tag_resolutions (
    tag_id         bigint PRIMARY KEY,
    resolutions    bigint NOT NULL,
    last_pulled_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- History by the hour; what is older than the retention becomes a row of the day (span in hours: 1 or 24).
CREATE TABLE pull_history (
    repository_id bigint NOT NULL,
    starts_at     timestamptz NOT NULL,
    span          smallint NOT NULL CONSTRAINT pull_history_span_known CHECK (span IN (1, 24)),
    manifest_id   bigint NOT NULL,
    key_id        bigint NOT NULL,
    pulls         bigint NOT NULL,
    PRIMARY KEY (repository_id, starts_at, span, manifest_id, key_id)
) WITH (fillfactor = 70);
CREATE INDEX pull_history_hours ON pull_history (starts_at) WHERE span = 1;

CREATE TABLE resolution_history (
    tag_id      bigint NOT NULL,
    starts_at   timestamptz NOT NULL,
    span        smallint NOT NULL CONSTRAINT resolution_history_span_known CHECK (span IN (1, 24)),
    resolutions bigint NOT NULL,
    PRIMARY KEY (tag_id, starts_at, span)
) WITH (fillfactor = 70);
CREATE INDEX resolution_history_hours ON resolution_history (starts_at) WHERE span = 1;

-- Bytes of blobs by the hour: sent by us, and offered by redirect.
CREATE TABLE traffic_history (
    registry_id      bigint NOT NULL,
    starts_at        timestamptz NOT NULL,
    proxied_bytes    bigint NOT NULL,
    redirected_bytes bigint NOT NULL,
    PRIMARY KEY (registry_id, starts_at)
) WITH (fillfactor = 70);
