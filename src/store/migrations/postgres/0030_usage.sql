-- What callers used: one row a day, principal and model. Days are counted since 1970, UTC.
CREATE TABLE usage (
    day           BIGINT NOT NULL,
    principal     TEXT NOT NULL,
    model         TEXT NOT NULL,
    requests      BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    model_ms      BIGINT NOT NULL,
    PRIMARY KEY (day, principal, model)
);
