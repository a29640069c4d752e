-- What callers used: one row a day, principal and model. Days are counted since 1970, UTC.
CREATE TABLE usage (
    day           INTEGER NOT NULL,
    principal     TEXT NOT NULL,
    model         TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    model_ms      INTEGER NOT NULL,
    PRIMARY KEY (day, principal, model)
) STRICT;
