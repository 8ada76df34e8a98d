-- How often somebody has tried something of late: to log in, to have a link mailed.
CREATE TABLE attempts (
    -- SHA-256 of what is tried and whom it concerns.
    who bytea PRIMARY KEY CHECK (octet_length(who) = 32),
    attempts bigint NOT NULL CHECK (attempts >= 0),
    -- Microseconds since 1970, to which pauses are added.
    last_micros bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX attempts_by_last ON attempts (last_micros);
