-- Whose requests are open, which database this is, and what it refused.

-- The replica that a pending request belongs to; when that has ended, another takes it over.
ALTER TABLE pending_requests ADD COLUMN replica_id INTEGER;

-- The same in every copy of the database.
CREATE TABLE database_identity (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    id BLOB NOT NULL CHECK (length(id) = 16)
) STRICT;
INSERT INTO database_identity (singleton, id) VALUES (1, randomblob(16));

-- Usage events that the database refused, kept whole until they are booked by hand.
CREATE TABLE refused_settlements (
    id INTEGER PRIMARY KEY,
    request_id BLOB NOT NULL UNIQUE CHECK (length(request_id) = 16),
    replica_id INTEGER NOT NULL,
    refused_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    event TEXT NOT NULL CHECK (json_valid(event)),
    cost_nanos INTEGER NOT NULL
) STRICT;

CREATE TRIGGER master_accounts_removed AFTER DELETE ON master_accounts
BEGIN INSERT INTO change_log (kind) VALUES ('master_accounts'); END;
