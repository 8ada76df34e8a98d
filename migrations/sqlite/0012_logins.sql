-- Logins that go on: one row a login, in which the refresh token of the moment replaces the one before.
CREATE TABLE sessions (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id),
    -- SHA-256 of the refresh token that is valid now; the token itself is not stored.
    refresh_hash BLOB NOT NULL CHECK (length(refresh_hash) = 32),
    created_at INTEGER NOT NULL,
    refreshed_at INTEGER NOT NULL,
    -- Unless it is refreshed before.
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    end_reason TEXT CHECK (end_reason IN ('logout', 'token_reused', 'too_many', 'password_changed', 'disabled')),
    address TEXT,
    user_agent TEXT,
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id, created_at);

-- A page of an account's keys.
CREATE INDEX api_keys_of_account ON api_keys (account_id, id);

-- Who changed what, append-only. Each entry's hash covers the one before, so that none can be changed, left out or put in
-- without all after it being made anew.
CREATE TABLE audit_log (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    at INTEGER NOT NULL,
    -- Who: an e-mail address, or `command line`.
    actor TEXT NOT NULL,
    actor_id BLOB,
    address TEXT,
    -- What: `client.credit`.
    action TEXT NOT NULL,
    -- To what: the id of an account, or of what the action names.
    subject_id BLOB NOT NULL CHECK (length(subject_id) = 16),
    reason TEXT,
    -- JSON.
    before TEXT,
    after TEXT,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_log_by_subject ON audit_log (subject_id, number);

-- The last entry: one that was cut off at the end is missed.
CREATE TABLE audit_head (
    singleton INTEGER PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    number INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
INSERT INTO audit_head (number, hash) VALUES (0, zeroblob(32));

CREATE TRIGGER audit_log_keep BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_stay BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;

-- Bookings that were asked for with an idempotency key, and what came of them.
CREATE TABLE idempotent_bookings (
    user_id BLOB NOT NULL REFERENCES users (id),
    key TEXT NOT NULL,
    -- SHA-256 of the request.
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
    -- JSON.
    outcome TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

-- Where not everybody may register, whoever has one of these may, once.
CREATE TABLE invitations (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    -- SHA-256 of the code; the code itself is not stored.
    code_hash BLOB NOT NULL UNIQUE CHECK (length(code_hash) = 32),
    -- The only address that may register with it, if it is for one.
    email TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    -- The login, which the same transaction creates.
    used_by BLOB,
    revoked_at INTEGER,
    CHECK ((used_at IS NULL) = (used_by IS NULL))
) STRICT;

-- What scripts of the operator send in place of a login.
CREATE TABLE operator_tokens (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    -- The administrator who made it; it holds as long as that is one.
    user_id BLOB NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    preview TEXT NOT NULL,
    -- SHA-256 of the token; the token itself is not stored.
    token_hash BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    -- What it may do: names with spaces between them.
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT;
