-- Repeats of requests that carry an Idempotency-Key. Whether the request that claimed a key runs, was charged or came to
-- nothing is not stored here: it follows from its usage event, its pending record and its replica.
CREATE TABLE idempotency_keys (
    -- SHA-256 of the client key's id and the Idempotency-Key.
    slot bytea PRIMARY KEY CHECK (octet_length(slot) = 32),
    -- SHA-256 of the route and the body.
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- The request that has claimed it, and the replica that runs it.
    request_id uuid NOT NULL,
    replica_id bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    -- At most 256 KiB of an answer, and what sealing adds.
    sealed_answer bytea CHECK (octet_length(sealed_answer) <= 262272)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
-- What is sealed can't be compressed.
ALTER TABLE idempotency_keys ALTER COLUMN sealed_answer SET STORAGE EXTERNAL;
