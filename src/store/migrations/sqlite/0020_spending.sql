-- What was spent of a budget in its period: one row an account, resource and length of period.
CREATE TABLE spending (
    account  TEXT NOT NULL,
    resource TEXT NOT NULL,
    period   INTEGER NOT NULL CHECK (period > 0),
    began    INTEGER NOT NULL,
    used     INTEGER NOT NULL,
    PRIMARY KEY (account, resource, period)
) STRICT;
