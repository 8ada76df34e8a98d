-- Links that are mailed: each is good once, so that a row goes when it is used.
CREATE TABLE mailed_tokens (
    -- SHA-256 of the token; the token itself is not stored.
    token_hash BLOB PRIMARY KEY CHECK (length(token_hash) = 32),
    kind TEXT NOT NULL CHECK (kind IN ('verify_email', 'reset_password')),
    -- Nobody, where somebody asked in the name of a login that there isn't.
    user_id BLOB REFERENCES users (id),
    -- The address that it was mailed to.
    email TEXT NOT NULL COLLATE NOCASE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX mailed_tokens_by_email ON mailed_tokens (email, kind, created_at);
CREATE INDEX mailed_tokens_by_user ON mailed_tokens (user_id);
CREATE INDEX mailed_tokens_by_end ON mailed_tokens (expires_at);
