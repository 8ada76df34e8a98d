-- How often somebody has tried something of late: to log in, to have a link mailed.
CREATE TABLE attempts (
    -- SHA-256 of what is tried and whom it concerns.
    who BLOB PRIMARY KEY CHECK (length(who) = 32),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    last_at INTEGER NOT NULL
) STRICT;
CREATE INDEX attempts_by_last ON attempts (last_at);
