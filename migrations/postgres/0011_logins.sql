-- Logins that go on: one row a login, in which the refresh token of the moment replaces the one before.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    -- SHA-256 of the refresh token that is valid now; the token itself is not stored.
    refresh_hash bytea NOT NULL CHECK (octet_length(refresh_hash) = 32),
    created_at timestamptz NOT NULL,
    refreshed_at timestamptz NOT NULL,
    -- Unless it is refreshed before.
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text COLLATE "C" CHECK (end_reason IN ('logout', 'token_reused', 'too_many', 'password_changed', 'disabled')),
    address text,
    user_agent text,
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX sessions_by_user ON sessions (user_id, created_at);

-- A page of an account's keys.
CREATE INDEX api_keys_of_account ON api_keys (account_id, id);

-- Who changed what, append-only. Each entry's hash covers the one before, so that none can be changed, left out or put in
-- without all after it being made anew.
CREATE TABLE audit_log (
    number bigint PRIMARY KEY CHECK (number > 0),
    at timestamptz NOT NULL,
    -- Who: an e-mail address, or `command line`.
    actor text NOT NULL,
    actor_id uuid,
    address text,
    -- What: `client.credit`.
    action text COLLATE "C" NOT NULL,
    -- To what: the id of an account, or of what the action names.
    subject_id uuid NOT NULL,
    reason text,
    -- JSON.
    before text,
    after text,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE INDEX audit_log_by_subject ON audit_log (subject_id, number);

-- The last entry: one that was cut off at the end is missed, and entries are added one after the other.
CREATE TABLE audit_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    number bigint NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
INSERT INTO audit_head (number, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE TRIGGER audit_log_keep BEFORE UPDATE ON audit_log
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_log_stay BEFORE DELETE ON audit_log
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_log_whole BEFORE TRUNCATE ON audit_log
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Bookings that were asked for with an idempotency key, and what came of them.
CREATE TABLE idempotent_bookings (
    user_id uuid NOT NULL REFERENCES users (id),
    key text COLLATE "C" NOT NULL,
    -- SHA-256 of the request.
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    -- JSON.
    outcome text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);

-- Where not everybody may register, whoever has one of these may, once.
CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    -- SHA-256 of the code; the code itself is not stored.
    code_hash bytea NOT NULL UNIQUE CHECK (octet_length(code_hash) = 32),
    -- The only address that may register with it, if it is for one.
    email text COLLATE "C",
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    -- The login, which the same transaction creates.
    used_by uuid,
    revoked_at timestamptz,
    CHECK ((used_at IS NULL) = (used_by IS NULL))
);

-- What scripts of the operator send in place of a login.
CREATE TABLE operator_tokens (
    id uuid PRIMARY KEY,
    -- The administrator who made it; it holds as long as that is one.
    user_id uuid NOT NULL REFERENCES users (id),
    name text NOT NULL,
    preview text NOT NULL,
    -- SHA-256 of the token; the token itself is not stored.
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    -- What it may do: names with spaces between them.
    scopes text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    last_used_at timestamptz
);
