-- Who used the id of a conversation first. It never changes hands.
CREATE TABLE conversations (
    id         TEXT   NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    owner      TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX conversations_created_at ON conversations (created_at);
