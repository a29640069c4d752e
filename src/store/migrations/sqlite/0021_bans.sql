-- Who is refused, until when. `subject` is an address, a network, or `key:` and the id of a key.
CREATE TABLE bans (
    subject TEXT NOT NULL PRIMARY KEY,
    why     TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT;

INSERT INTO revisions (topic, value) VALUES ('bans', 0);
