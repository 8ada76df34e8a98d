-- Who logins are at providers of logins (OpenID Connect). A login has one identity of a provider.
CREATE TABLE user_identities (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    issuer text COLLATE "C" NOT NULL,
    -- Who it is there, by the provider's own word.
    subject text COLLATE "C" NOT NULL,
    -- The address that the provider named when it was linked.
    email text,
    created_at timestamptz NOT NULL,
    UNIQUE (issuer, subject),
    UNIQUE (user_id, issuer)
);
