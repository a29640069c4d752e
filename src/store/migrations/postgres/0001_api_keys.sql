-- One row a topic that running gateways watch; its value grows with every change.
CREATE TABLE revisions (
    topic TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO revisions (topic, value) VALUES ('api_keys', 0);

-- Single values that belong to the whole store.
CREATE TABLE facts (
    name  TEXT  NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Never a secret: `hash` is an HMAC under a pepper that is not in this store.
-- `principal` is the first key of a chain of rotations: limits count by it.
CREATE TABLE api_keys (
    id          TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    principal   TEXT    NOT NULL REFERENCES api_keys (id),
    name        TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    role        TEXT    NOT NULL CHECK (length(role) > 0),
    hash        BYTEA   NOT NULL CHECK (length(hash) = 32),
    created_at  BIGINT  NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT,
    replaced_by TEXT    REFERENCES api_keys (id),
    revision    BIGINT  NOT NULL
);

CREATE INDEX api_keys_revision ON api_keys (revision);
