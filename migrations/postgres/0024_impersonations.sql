-- What lets an administrator see for a while what a login sees. Not among the sessions: servers of the version before would
-- take it for the login's own.
CREATE TABLE impersonations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    -- The administrator's: it ends with that.
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX impersonations_by_session ON impersonations (session_id);
