-- oldest_program: 1
--
-- Bringing back what a catalogue says. Its records are gathered here first, the last one of each entity, and become rows
-- batch by batch. A server that crashes forgets them; whoever had gathered them begins anew.

-- Blobs whose object is missing or damaged are no others when they come back.
DROP TRIGGER blobs_catalogue_update ON blobs;
CREATE TRIGGER blobs_catalogue_update AFTER UPDATE OF size, object_id, withdrawn_at ON blobs
FOR EACH ROW EXECUTE FUNCTION note_in_catalogue('blob');

CREATE UNLOGGED TABLE catalogue_staging (
    registry_id bigint NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    -- As the catalogue has it.
    entity_id   bigint NOT NULL,
    -- NULL: it is gone.
    state       json,
    is_dead     boolean NOT NULL DEFAULT false,
    -- Of the row that it is or becomes here.
    row_id      bigint,
    is_new      boolean NOT NULL DEFAULT true,
    -- The row was changed here after what the catalogue says.
    is_kept     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (registry_id, kind, entity_id)
);

-- The row that an entity of a catalogue is here. One that the catalogue did not mention is what it was, if it was there
-- before its time ("since"): ids mean the same then.
CREATE FUNCTION catalogue_row(registry bigint, wanted text, entity bigint, since timestamptz) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN staged.entity_id IS NOT NULL THEN staged.row_id
        WHEN wanted = 'repository' THEN
            (SELECT id FROM repositories WHERE id = entity AND registry_id = registry AND created_at <= since)
        WHEN wanted = 'deletion' THEN
            (SELECT id FROM deletions WHERE id = entity AND registry_id = registry AND deleted_at <= since)
        WHEN wanted = 'blob' THEN
            (SELECT id FROM blobs WHERE id = entity AND registry_id = registry AND created_at <= since)
        WHEN wanted = 'manifest' THEN
            (SELECT manifests.id
             FROM manifests
             JOIN repositories ON repositories.id = manifests.repository_id
             WHERE manifests.id = entity AND repositories.registry_id = registry AND manifests.created_at <= since)
    END
    FROM (SELECT) AS one
    LEFT JOIN catalogue_staging AS staged
        ON staged.registry_id = registry AND staged.kind = wanted AND staged.entity_id = entity
$$;
