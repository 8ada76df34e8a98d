-- What lets an administrator see for a while what a login sees. Not among the sessions: servers of the version before would
-- take it for the login's own.
CREATE TABLE impersonations (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id),
    -- The administrator's: it ends with that.
    session_id BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX impersonations_by_session ON impersonations (session_id);
