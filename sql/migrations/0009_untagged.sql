-- oldest_program: 1
--
-- Manifests without a tag are kept for ever, unless an image says for how long. Only additions: a program of the version
-- before, while it serves beside this one, does not write down when a manifest loses a tag.

ALTER TABLE repositories
    -- Days after which a manifest without a tag is deleted; NULL keeps it.
    ADD COLUMN untagged_days integer CONSTRAINT repositories_untagged_days_positive CHECK (untagged_days > 0),
    -- Set where the catalogue brought the image back, which does not know when manifests were pulled or lost their tags.
    ADD COLUMN untagged_from timestamptz;
CREATE INDEX repositories_untagged ON repositories (id) WHERE untagged_days IS NOT NULL AND deleted_at IS NULL;

-- When a manifest lost a tag, the last time.
CREATE TABLE tag_losses (
    manifest_id bigint PRIMARY KEY,
    lost_at     timestamptz NOT NULL
);
-- Nobody knows it of those before.
INSERT INTO tag_losses (manifest_id, lost_at)
SELECT id, now()
FROM manifests
WHERE deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM tags WHERE tags.manifest_id = manifests.id AND tags.deleted_at IS NULL);

-- Living manifests that nothing living needs: no tag, no index that lists them, no subject that they are about. OFFSET 0
-- keeps each lookup one by index.
CREATE VIEW untagged_manifests AS
SELECT manifests.id AS manifest_id, manifests.repository_id, manifests.digest,
       greatest(
           manifests.created_at,
           (SELECT last_pulled_at FROM manifest_figures WHERE manifest_figures.manifest_id = manifests.id),
           (SELECT lost_at FROM tag_losses WHERE tag_losses.manifest_id = manifests.id),
           repositories.untagged_from
       ) AS since
FROM manifests
JOIN repositories ON repositories.id = manifests.repository_id
WHERE manifests.deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM tags WHERE tags.manifest_id = manifests.id AND tags.deleted_at IS NULL OFFSET 0)
  AND NOT EXISTS (
      SELECT
      FROM manifest_references
      JOIN manifests AS parent ON parent.id = manifest_references.manifest_id
      WHERE manifest_references.repository_id = manifests.repository_id
        AND manifest_references.child_digest = manifests.digest
        AND manifest_references.kind = 'child'
        AND parent.deleted_at IS NULL
      OFFSET 0
  )
  AND NOT EXISTS (
      SELECT
      FROM manifests AS subject
      WHERE subject.repository_id = manifests.repository_id
        AND subject.digest = manifests.subject_digest
        AND subject.deleted_at IS NULL
      OFFSET 0
  );

DROP TRIGGER repositories_catalogue_update ON repositories;
CREATE TRIGGER repositories_catalogue_update
AFTER UPDATE OF name, deleted_at, deletion_id, short_description, description, tags_mutable, untagged_days ON repositories
FOR EACH ROW EXECUTE FUNCTION note_in_catalogue('repository');
