-- Who is refused, until when. `subject` is an address, a network, or `key:` and the id of a key.
CREATE TABLE bans (
    subject TEXT NOT NULL PRIMARY KEY,
    why     TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);

INSERT INTO revisions (topic, value) VALUES ('bans', 0);
