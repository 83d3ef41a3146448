-- oldest_program: 1
--
-- What images show and how they are managed: descriptions, protected tags, figures of manifests, and what was deleted
-- together. Only additions: programs of the version before go on serving; what they push is measured when it is shown.

ALTER TABLE repositories
    ADD COLUMN short_description text NOT NULL DEFAULT '',
    ADD COLUMN description       text NOT NULL DEFAULT '',
    -- Whether a tag that exists may be pointed at another manifest.
    ADD COLUMN tags_mutable      boolean NOT NULL DEFAULT true,
    -- Counts changes of the above, for conditional updates by two people.
    ADD COLUMN version           bigint NOT NULL DEFAULT 1,
    -- The last push, deletion, restoration or description.
    ADD COLUMN changed_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN deletion_id       bigint;
UPDATE repositories
SET changed_at = greatest(
    repositories.created_at,
    (SELECT max(greatest(created_at, deleted_at)) FROM manifests WHERE repository_id = repositories.id),
    (SELECT max(greatest(pushed_at, deleted_at)) FROM tags WHERE repository_id = repositories.id)
);
CREATE INDEX repositories_changed ON repositories (registry_id, changed_at, id) WHERE deleted_at IS NULL;

ALTER TABLE manifests
    -- Bytes of the blobs that it needs, each once; of an index, the sum of what it lists. NULL until it is first shown.
    ADD COLUMN content_size bigint,
    -- NULL is not known yet: an image's is in its config, which is read when it is first shown.
    ADD COLUMN platforms    text[],
    ADD COLUMN deletion_id  bigint;
CREATE INDEX manifests_of_repository ON manifests (repository_id, id) WHERE deleted_at IS NULL;
CREATE INDEX manifests_deleted ON manifests (repository_id, digest) WHERE deleted_at IS NOT NULL;
CREATE INDEX manifests_of_deletion ON manifests (deletion_id) WHERE deletion_id IS NOT NULL;

ALTER TABLE tags ADD COLUMN deletion_id bigint;
CREATE INDEX tags_pushed ON tags (repository_id, pushed_at, id) WHERE deleted_at IS NULL;
CREATE INDEX tags_of_deletion ON tags (deletion_id) WHERE deletion_id IS NOT NULL;

CREATE INDEX repository_blobs_deleted ON repository_blobs (repository_id, digest) WHERE deleted_at IS NOT NULL;

-- One deletion: what went with it has its id. Rows of the version before have none and are not restored.
CREATE TABLE deletions (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    registry_id   bigint NOT NULL REFERENCES registries,
    repository_id bigint NOT NULL REFERENCES repositories,
    kind          text NOT NULL CONSTRAINT deletions_kind_known CHECK (kind IN ('image', 'tag', 'manifest')),
    tag           text COLLATE "C",
    digest        text COLLATE "C",
    deleted_at    timestamptz NOT NULL DEFAULT now(),
    deleted_by    text NOT NULL,
    restored_at   timestamptz
);
CREATE INDEX deletions_of_registry ON deletions (registry_id, id) WHERE restored_at IS NULL;
CREATE INDEX deletions_of_repository ON deletions (repository_id);

-- Pulls of a manifest; of an index, the sum of the images that it lists. OFFSET 0 keeps each lookup one by index, also
-- while nothing is known of how large the tables are.
CREATE VIEW manifest_figures AS
SELECT manifests.id AS manifest_id,
       coalesce(own.pulls, 0) + coalesce(children.pulls, 0) AS pulls,
       greatest(own.last_pulled_at, children.last_pulled_at) AS last_pulled_at
FROM manifests
LEFT JOIN manifest_pulls AS own ON own.manifest_id = manifests.id
LEFT JOIN LATERAL (
    SELECT sum(each.pulls)::bigint AS pulls, max(each.last_pulled_at) AS last_pulled_at
    FROM manifest_references
    CROSS JOIN LATERAL (
        SELECT manifest_pulls.pulls, manifest_pulls.last_pulled_at
        FROM manifest_pulls
        WHERE manifest_pulls.manifest_id = (
            SELECT child.id
            FROM manifests AS child
            WHERE child.repository_id = manifest_references.repository_id
              AND child.digest = manifest_references.child_digest
              AND child.deleted_at IS NULL
        )
        OFFSET 0
    ) AS each
    WHERE manifest_references.manifest_id = manifests.id AND manifests.kind = 'index'
) AS children ON true;
