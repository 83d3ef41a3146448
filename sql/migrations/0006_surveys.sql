-- oldest_program: 1
--
-- What `slipway fsck` finds out, so that an interrupted one goes on where it stopped. Only additions: programs of the
-- version before go on serving, and go on failing to serve what this one withdraws.

ALTER TABLE objects
    -- When its content was last read again, and whether it was another one than its blob's digest says.
    ADD COLUMN verified_at timestamptz,
    ADD COLUMN is_damaged  boolean NOT NULL DEFAULT false;

-- Its object is missing or damaged: nobody is told of the blob, so that it is pushed again, which gives it another one.
ALTER TABLE blobs ADD COLUMN withdrawn_at timestamptz;

-- A reading of everything that was begun and not finished; what was read since then is not read again.
CREATE TABLE verifications (
    registry_id bigint PRIMARY KEY REFERENCES registries,
    begun_at    timestamptz NOT NULL DEFAULT now()
);
