-- oldest_program: 1
--
-- What Postgres itself looks for when a row is deleted: rows that refer to it. It cannot use indexes of the living, or of the
-- deleted, alone, and read these tables from end to end for each image that was purged, and each object that was forgotten.

CREATE INDEX repository_blobs_of_repository ON repository_blobs (repository_id);
CREATE INDEX manifests_of_any_repository ON manifests (repository_id);
CREATE INDEX tags_of_repository ON tags (repository_id);
CREATE INDEX upload_sessions_of_target ON upload_sessions (target_id) WHERE target_id IS NOT NULL;
CREATE INDEX upload_segments_of_object ON upload_segments (object_id);
