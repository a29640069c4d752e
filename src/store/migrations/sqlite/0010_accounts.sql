INSERT INTO revisions (topic, value) VALUES ('accounts', 0);

-- `password` is the text of a slow hash: argon2id, or bcrypt where it was imported.
-- `totp` is sealed under the pepper, which is not in this store.
-- Tokens issued before `valid_from` are void: a new password, another role and an unlocking move it.
CREATE TABLE users (
    name       TEXT   NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    role       TEXT   NOT NULL CHECK (length(role) > 0),
    password   TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    valid_from INTEGER NOT NULL,
    locked_at  INTEGER,
    failures   INTEGER NOT NULL DEFAULT 0,
    retry_at   INTEGER NOT NULL DEFAULT 0,
    totp       BLOB,
    totp_step  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE recovery_codes (
    user_name TEXT  NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    hash      BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (user_name, hash)
) STRICT;

-- One sign-in and all the refresh tokens that descend from it.
CREATE TABLE token_families (
    id         TEXT   NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    subject    TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- Never a secret: `hash` is an HMAC under the pepper.
CREATE TABLE refresh_tokens (
    id         TEXT   NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    family     TEXT   NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
    hash       BLOB  NOT NULL CHECK (length(hash) = 32),
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT;

CREATE INDEX refresh_tokens_family ON refresh_tokens (family);

-- The id of a token, or of a family: what carries it is refused until it would have expired by itself.
CREATE TABLE revoked_tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;
