-- oldest_program: 1
--
-- The rule of what is without a tag, once, also for what would be without one if others were deleted. The view stays as it
-- is for everybody who uses it.

-- Living manifests that nothing living needs, with some counted as deleted: no tag, no index that lists them, no subject
-- that they are about. OFFSET 0 keeps each lookup one by index. One statement, so that it becomes part of the one around it.
CREATE FUNCTION untagged_manifests_without(gone bigint[])
RETURNS TABLE (manifest_id bigint, repository_id bigint, digest text, since timestamptz)
LANGUAGE sql STABLE
AS $$
SELECT manifests.id, manifests.repository_id, manifests.digest,
       greatest(
           manifests.created_at,
           (SELECT last_pulled_at FROM manifest_figures WHERE manifest_figures.manifest_id = manifests.id),
           (SELECT lost_at FROM tag_losses WHERE tag_losses.manifest_id = manifests.id),
           repositories.untagged_from
       )
FROM manifests
JOIN repositories ON repositories.id = manifests.repository_id
WHERE manifests.deleted_at IS NULL
  AND manifests.id <> ALL(gone)
  AND NOT EXISTS (SELECT FROM tags WHERE tags.manifest_id = manifests.id AND tags.deleted_at IS NULL OFFSET 0)
  AND NOT EXISTS (
      SELECT
      FROM manifest_references
      JOIN manifests AS parent ON parent.id = manifest_references.manifest_id
      WHERE manifest_references.repository_id = manifests.repository_id
        AND manifest_references.child_digest = manifests.digest
        AND manifest_references.kind = 'child'
        AND parent.deleted_at IS NULL
        AND parent.id <> ALL(gone)
      OFFSET 0
  )
  AND NOT EXISTS (
      SELECT
      FROM manifests AS subject
      WHERE subject.repository_id = manifests.repository_id
        AND subject.digest = manifests.subject_digest
        AND subject.deleted_at IS NULL
        AND subject.id <> ALL(gone)
      OFFSET 0
  )
$$;

CREATE OR REPLACE VIEW untagged_manifests AS
SELECT manifest_id, repository_id, digest COLLATE "C" AS digest, since FROM untagged_manifests_without('{}');
