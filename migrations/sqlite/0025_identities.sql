-- Who logins are at providers of logins (OpenID Connect). A login has one identity of a provider.
CREATE TABLE user_identities (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id),
    issuer TEXT NOT NULL,
    -- Who it is there, by the provider's own word.
    subject TEXT NOT NULL,
    -- The address that the provider named when it was linked.
    email TEXT,
    created_at INTEGER NOT NULL,
    UNIQUE (issuer, subject),
    UNIQUE (user_id, issuer)
) STRICT;
