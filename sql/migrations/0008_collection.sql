-- oldest_program: 1
--
-- What the collector looks for, in the order in which it goes; and when a round of it last began. Only additions: programs
-- of the version before go on serving, and collect nothing.

CREATE INDEX repository_blobs_purging ON repository_blobs (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX manifests_purging ON manifests (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX tags_purging ON tags (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX repositories_purging ON repositories (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX deletions_purging ON deletions (deleted_at);
CREATE INDEX objects_unfinished ON objects (id) WHERE state = 'removing' AND removed_at IS NULL;

-- One process at a time takes the turn of a kind of work.
CREATE TABLE turns (
    name     text PRIMARY KEY,
    taken_at timestamptz NOT NULL
);
