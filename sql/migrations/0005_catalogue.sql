-- oldest_program: 1
--
-- The catalogue: what is known of a registry's images, written to its bucket once more, as a chain of segments. Triggers
-- note what has changed, whoever changes it: programs of the version before as well. Counters, accounts and the audit
-- log are not in the catalogue, nor is how long a blob has been without references: what changes only that costs nothing.

-- What has changed and is not in a segment yet. Which entity is all it says: what is written is what it is by then, so
-- that it does not matter in which order transactions end. No foreign key: it would lock the registry's row each time.
CREATE TABLE catalogue_outbox (
    registry_id bigint NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    kind        text COLLATE "C" NOT NULL,
    entity_id   bigint NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (registry_id, id)
);

-- How far each registry's catalogue has come. Whoever draws the next segment locks the row; never while S3 is waited for.
CREATE TABLE catalogue_states (
    registry_id bigint PRIMARY KEY REFERENCES registries,
    -- Ids in segments mean the same rows for as long as this is the same; it grows when a catalogue was replayed.
    lineage     integer NOT NULL DEFAULT 1,
    -- Number of the last segment that was drawn, and key of the last one that is known to be in the bucket.
    seq         bigint NOT NULL DEFAULT 0,
    last_key    text COLLATE "C",
    -- The first segment of the latest series that has everything in it; whoever reads the catalogue begins there.
    base_key    text COLLATE "C",
    base_bytes  bigint NOT NULL DEFAULT 0,
    -- Bytes in segments behind that series.
    log_bytes   bigint NOT NULL DEFAULT 0,
    -- A series that is being written: what has been walked through, and its first segment once there is one.
    walk_kind   text COLLATE "C" DEFAULT 'registry',
    walk_after  bigint NOT NULL DEFAULT 0,
    walk_key    text COLLATE "C",
    walk_seq    bigint,
    walk_bytes  bigint NOT NULL DEFAULT 0,
    -- Set while a command replays the catalogue: nobody else writes meanwhile.
    is_replayed boolean NOT NULL DEFAULT false,
    drawn_at    timestamptz,
    CONSTRAINT catalogue_states_walk_whole CHECK ((walk_key IS NULL) = (walk_seq IS NULL))
);

-- Every segment in a bucket. Its key is committed here, with its bytes, before it is stored.
CREATE TABLE catalogue_segments (
    key          text COLLATE "C" PRIMARY KEY,
    registry_id  bigint NOT NULL REFERENCES registries,
    seq          bigint NOT NULL,
    size         bigint NOT NULL,
    -- Until it is stored.
    content      bytea,
    ends_walk    boolean NOT NULL DEFAULT false,
    attempted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX catalogue_segments_of_registry ON catalogue_segments (registry_id, seq);
CREATE UNIQUE INDEX catalogue_segments_pending ON catalogue_segments (registry_id) WHERE content IS NOT NULL;

CREATE FUNCTION note_registry_in_catalogue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO catalogue_outbox (registry_id, kind, entity_id) VALUES (NEW.id, 'registry', NEW.id);
    RETURN NULL;
END
$$;

-- Of tables that name the registry.
CREATE FUNCTION note_in_catalogue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO catalogue_outbox (registry_id, kind, entity_id) VALUES (OLD.registry_id, TG_ARGV[0], OLD.id);
    ELSE
        INSERT INTO catalogue_outbox (registry_id, kind, entity_id) VALUES (NEW.registry_id, TG_ARGV[0], NEW.id);
    END IF;
    RETURN NULL;
END
$$;

-- Of tables that name the repository. When that goes in the same statement, what it held goes with it unsaid.
CREATE FUNCTION note_content_in_catalogue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO catalogue_outbox (registry_id, kind, entity_id)
        SELECT registry_id, TG_ARGV[0], OLD.id FROM repositories WHERE id = OLD.repository_id;
    ELSE
        INSERT INTO catalogue_outbox (registry_id, kind, entity_id)
        SELECT registry_id, TG_ARGV[0], NEW.id FROM repositories WHERE id = NEW.repository_id;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER registries_catalogue AFTER INSERT ON registries
FOR EACH ROW EXECUTE FUNCTION note_registry_in_catalogue();
CREATE TRIGGER registries_catalogue_update
AFTER UPDATE OF public_endpoint, public_pull, public_networks, private_networks, public_delivery, private_delivery,
                delivery_rules ON registries
FOR EACH ROW EXECUTE FUNCTION note_registry_in_catalogue();

CREATE TRIGGER repositories_catalogue AFTER INSERT OR DELETE ON repositories
FOR EACH ROW EXECUTE FUNCTION note_in_catalogue('repository');
CREATE TRIGGER repositories_catalogue_update
AFTER UPDATE OF name, deleted_at, deletion_id, short_description, description, tags_mutable ON repositories
FOR EACH ROW EXECUTE FUNCTION note_in_catalogue('repository');

CREATE TRIGGER deletions_catalogue AFTER INSERT OR DELETE ON deletions
FOR EACH ROW EXECUTE FUNCTION note_in_catalogue('deletion');
CREATE TRIGGER deletions_catalogue_update AFTER UPDATE OF repository_id, restored_at ON deletions
FOR EACH ROW EXECUTE FUNCTION note_in_catalogue('deletion');

CREATE TRIGGER blobs_catalogue AFTER INSERT OR DELETE ON blobs
FOR EACH ROW EXECUTE FUNCTION note_in_catalogue('blob');
CREATE TRIGGER blobs_catalogue_update AFTER UPDATE OF size, object_id ON blobs
FOR EACH ROW EXECUTE FUNCTION note_in_catalogue('blob');

CREATE TRIGGER manifests_catalogue AFTER INSERT OR DELETE ON manifests
FOR EACH ROW EXECUTE FUNCTION note_content_in_catalogue('manifest');
-- A push of what is there already sets the media type to what it was.
CREATE TRIGGER manifests_catalogue_update
AFTER UPDATE OF repository_id, media_type, deleted_at, deletion_id ON manifests
FOR EACH ROW WHEN ((OLD.repository_id, OLD.media_type, OLD.deleted_at, OLD.deletion_id)
                   IS DISTINCT FROM (NEW.repository_id, NEW.media_type, NEW.deleted_at, NEW.deletion_id))
EXECUTE FUNCTION note_content_in_catalogue('manifest');

CREATE TRIGGER tags_catalogue AFTER INSERT OR DELETE ON tags
FOR EACH ROW EXECUTE FUNCTION note_content_in_catalogue('tag');
CREATE TRIGGER tags_catalogue_update
AFTER UPDATE OF repository_id, manifest_id, pushed_at, pushed_by, deleted_at, deletion_id ON tags
FOR EACH ROW EXECUTE FUNCTION note_content_in_catalogue('tag');

CREATE TRIGGER repository_blobs_catalogue AFTER INSERT OR DELETE ON repository_blobs
FOR EACH ROW EXECUTE FUNCTION note_content_in_catalogue('repository_blob');
CREATE TRIGGER repository_blobs_catalogue_update AFTER UPDATE OF repository_id, blob_id, deleted_at ON repository_blobs
FOR EACH ROW EXECUTE FUNCTION note_content_in_catalogue('repository_blob');
