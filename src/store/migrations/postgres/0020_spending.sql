-- What was spent of a budget in its period: one row an account, resource and length of period.
CREATE TABLE spending (
    account  TEXT NOT NULL,
    resource TEXT NOT NULL,
    period   BIGINT NOT NULL CHECK (period > 0),
    began    BIGINT NOT NULL,
    used     BIGINT NOT NULL,
    PRIMARY KEY (account, resource, period)
);
