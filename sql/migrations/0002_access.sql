-- oldest_program: 1
--
-- Registries with endpoints, accounts with policies and keys, what signs and seals, and who did what. Only additions:
-- programs of the version before go on serving the default registry.

-- What is true of the installation as a whole; one row.
CREATE TABLE installation (
    is_single  boolean PRIMARY KEY DEFAULT true CONSTRAINT installation_single CHECK (is_single),
    -- Random, 128 bits: the issuer of tokens, and the name in the markers of buckets.
    public_id  text COLLATE "C" NOT NULL CONSTRAINT installation_public_id_form CHECK (public_id ~ '^[0-9a-f]{32}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE registries
    -- The label of the private endpoint's host: random, unguessable. Rows of the version before get theirs at the start.
    ADD COLUMN private_label    text COLLATE "C" CONSTRAINT registries_private_label_unique UNIQUE
                                CONSTRAINT registries_private_label_form CHECK (private_label ~ '^[a-z][a-z0-9]{25}$'),
    ADD COLUMN public_endpoint  boolean NOT NULL DEFAULT true,
    ADD COLUMN public_pull      boolean NOT NULL DEFAULT false,
    -- CIDR networks whose clients each endpoint accepts; none means everybody.
    ADD COLUMN public_networks  text[] NOT NULL DEFAULT '{}',
    ADD COLUMN private_networks text[] NOT NULL
        DEFAULT '{127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7}',
    -- proxy or redirect; NULL is what the configuration says.
    ADD COLUMN public_delivery  text CONSTRAINT registries_public_delivery_known
                                CHECK (public_delivery IN ('proxy', 'redirect')),
    ADD COLUMN private_delivery text CONSTRAINT registries_private_delivery_known
                                CHECK (private_delivery IN ('proxy', 'redirect')),
    -- Exceptions by client network, the first that fits counts: "NETWORK=proxy|redirect-public|redirect-private".
    ADD COLUMN delivery_rules   text[] NOT NULL DEFAULT '{}',
    -- Counts changes, for conditional updates by two people.
    ADD COLUMN version          bigint NOT NULL DEFAULT 1;

-- A deleted registry can be taken over from its bucket, with its id.
ALTER TABLE registries DROP CONSTRAINT registries_public_id_unique;
CREATE UNIQUE INDEX registries_public_id_unique ON registries (public_id) WHERE deleted_at IS NULL;

CREATE TABLE accounts (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL CONSTRAINT accounts_name_form CHECK (name ~ '^[a-z][a-z0-9-]{0,61}[a-z0-9]$'),
    is_root    boolean NOT NULL DEFAULT false,
    note       text NOT NULL DEFAULT '',
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE UNIQUE INDEX accounts_name_unique ON accounts (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX accounts_root_unique ON accounts (is_root) WHERE is_root AND deleted_at IS NULL;

-- A policy gives an account a role, in one registry or (registry_id NULL) in all.
CREATE TABLE policies (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts,
    role        text NOT NULL CONSTRAINT policies_role_known CHECK (role IN ('manager', 'viewer')),
    registry_id bigint REFERENCES registries,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT policies_unique UNIQUE NULLS NOT DISTINCT (account_id, role, registry_id)
);
CREATE INDEX policies_of_registry ON policies (registry_id) WHERE registry_id IS NOT NULL;

-- Mixed into the hash of every secret, so that a copy of that table alone cannot be searched through.
CREATE TABLE peppers (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    value      bytea NOT NULL,
    -- Whether the value is encrypted with the key of the configuration.
    is_sealed  boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE access_keys (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    access_key_id  text COLLATE "C" NOT NULL CONSTRAINT access_keys_access_key_id_unique UNIQUE
                   CONSTRAINT access_keys_access_key_id_form CHECK (access_key_id ~ '^[A-Za-z0-9_-]{3,64}$'),
    account_id     bigint NOT NULL REFERENCES accounts,
    note           text NOT NULL DEFAULT '',
    -- What the key is narrowed to; NULL is no narrowing.
    actions        text[] CONSTRAINT access_keys_actions_known CHECK (actions <@ '{pull,push,delete}'),
    repositories   text[],
    disabled_at    timestamptz,
    expires_at     timestamptz,
    last_used_at   timestamptz,
    last_used_from text,
    version        bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    deleted_at     timestamptz
);
CREATE INDEX access_keys_of_account ON access_keys (account_id);

-- During a changeover a key has two secrets; the older one then has an end.
CREATE TABLE key_secrets (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id     bigint NOT NULL REFERENCES access_keys,
    scheme     text NOT NULL CONSTRAINT key_secrets_scheme_known CHECK (scheme IN ('hmac-sha256')),
    pepper_id  bigint NOT NULL REFERENCES peppers,
    hash       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
CREATE INDEX key_secrets_of_key ON key_secrets (key_id);

-- Each signs from signs_from on, until the next one does; it verifies until verifies_until (NULL: no end yet).
CREATE TABLE signing_keys (
    id             text COLLATE "C" PRIMARY KEY,
    algorithm      text NOT NULL CONSTRAINT signing_keys_algorithm_known CHECK (algorithm IN ('EdDSA')),
    private_key    bytea NOT NULL,
    is_sealed      boolean NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    signs_from     timestamptz NOT NULL,
    verifies_until timestamptz
);

-- Who did what: names as they were, since what they name may be gone. before and after are JSON as text.
CREATE TABLE audit_log (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at   timestamptz NOT NULL DEFAULT now(),
    account_id    bigint,
    account       text NOT NULL,
    access_key_id text,
    address       text,
    action        text NOT NULL,
    registry_id   bigint,
    registry      text,
    object        text NOT NULL,
    before        text,
    after         text,
    result        text NOT NULL CONSTRAINT audit_log_result_known CHECK (result IN ('done', 'refused')),
    -- How often it happened within the minute; refused logins are counted together.
    count         integer NOT NULL DEFAULT 1
);
CREATE INDEX audit_log_happened_at ON audit_log (happened_at);
CREATE INDEX audit_log_of_registry ON audit_log (registry_id, id) WHERE registry_id IS NOT NULL;

-- Whose an upload session is; NULL under --open.
ALTER TABLE upload_sessions ADD COLUMN account_id bigint;
ALTER TABLE upload_tombstones ADD COLUMN account_id bigint;

-- Who pushed it, as a name.
ALTER TABLE manifests ADD COLUMN pushed_by text;
ALTER TABLE tags
    ADD COLUMN pushed_by            text,
    -- What the last push took the tag from: only the upsert itself knows it for certain.
    ADD COLUMN replaced_manifest_id bigint;
