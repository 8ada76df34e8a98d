-- Repeats of requests that carry an Idempotency-Key. Whether the request that claimed a key runs, was charged or came to
-- nothing is not stored here: it follows from its usage event, its pending record and its replica.
CREATE TABLE idempotency_keys (
    -- SHA-256 of the client key's id and the Idempotency-Key.
    slot BLOB PRIMARY KEY CHECK (length(slot) = 32),
    -- SHA-256 of the route and the body.
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    -- The request that has claimed it, and the replica that runs it.
    request_id BLOB NOT NULL CHECK (length(request_id) = 16),
    replica_id INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- At most 256 KiB of an answer, and what sealing adds.
    sealed_answer BLOB CHECK (length(sealed_answer) <= 262272)
) STRICT;
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
