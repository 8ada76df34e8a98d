-- A second factor of a login: codes that an app makes of a secret and the time.
CREATE TABLE second_factors (
    user_id uuid PRIMARY KEY REFERENCES users (id),
    -- What codes are made of, sealed for this row.
    sealed_secret bytea NOT NULL,
    created_at timestamptz NOT NULL,
    -- Since when codes are asked for; before, its owner has not shown one.
    confirmed_at timestamptz,
    -- The half minute of the last code that was used: neither its code nor an earlier one is good again.
    last_step bigint NOT NULL DEFAULT 0
);

-- What its owner may log in with instead, each once: a row goes when it is used.
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES second_factors (user_id),
    -- SHA-256 of the code; the code itself is not stored.
    code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    PRIMARY KEY (user_id, code_hash)
);
