-- Master accounts as inventory: several keys each, a management key, weight, concentration limit, draining, credit.

-- Servers of the version before know two statuses: for them a draining account is a paused one.
ALTER TABLE master_accounts ADD COLUMN drains INTEGER NOT NULL DEFAULT 0
    CHECK (drains IN (0, 1) AND (drains = 0 OR status = 'paused'));
-- What its upstream speaks.
ALTER TABLE master_accounts ADD COLUMN kind TEXT NOT NULL DEFAULT 'openrouter' CHECK (kind IN ('openrouter', 'compatible'));
-- Its part of the load among accounts that cost the same.
ALTER TABLE master_accounts ADD COLUMN weight INTEGER NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000);
-- No more than so many percent of the traffic are wanted on it.
ALTER TABLE master_accounts ADD COLUMN most_share_percent INTEGER CHECK (most_share_percent BETWEEN 1 AND 99);
ALTER TABLE master_accounts ADD COLUMN sealed_management_key BLOB;
-- SHA-256 of the key in hex.
ALTER TABLE master_accounts ADD COLUMN management_key_fingerprint TEXT
    CHECK ((management_key_fingerprint IS NULL) = (sealed_management_key IS NULL));

-- The inference keys of master accounts. The first one has its account's id, is also in master_accounts, and is sealed
-- for its place there.
CREATE TABLE master_account_keys (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    master_account_id BLOB NOT NULL REFERENCES master_accounts (id) ON DELETE CASCADE,
    sealed_key BLOB NOT NULL,
    -- SHA-256 of the key in hex.
    fingerprint TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX master_account_keys_by_account ON master_account_keys (master_account_id);

INSERT INTO master_account_keys (id, master_account_id, sealed_key, fingerprint, created_at)
SELECT id, id, sealed_key, key_fingerprint, created_at FROM master_accounts ORDER BY seq;

-- However an account is added, its key is among its keys.
CREATE TRIGGER master_accounts_first_key AFTER INSERT ON master_accounts
BEGIN
    INSERT INTO master_account_keys (id, master_account_id, sealed_key, fingerprint, created_at)
    VALUES (NEW.id, NEW.id, NEW.sealed_key, NEW.key_fingerprint, NEW.created_at);
END;

-- A removed key is nowhere any more.
CREATE TRIGGER master_accounts_first_key_removed AFTER DELETE ON master_account_keys
WHEN OLD.id = OLD.master_account_id
BEGIN
    UPDATE master_accounts SET sealed_key = x'', key_fingerprint = 'removed ' || lower(hex(id)) WHERE id = OLD.id;
END;

CREATE TRIGGER master_account_keys_added AFTER INSERT ON master_account_keys
BEGIN INSERT INTO change_log (kind) VALUES ('master_accounts'); END;
CREATE TRIGGER master_account_keys_removed AFTER DELETE ON master_account_keys
BEGIN INSERT INTO change_log (kind) VALUES ('master_accounts'); END;

-- What the upstream last said of an account's credit. Replicas look at it before they ask; nobody is told of changes.
CREATE TABLE master_account_credit (
    master_account_id BLOB PRIMARY KEY REFERENCES master_accounts (id) ON DELETE CASCADE,
    bought_nanos INTEGER NOT NULL,
    used_nanos INTEGER NOT NULL,
    -- What is used in a day at the present pace, once that is known.
    pace_nanos INTEGER CHECK (pace_nanos >= 0),
    seen_at INTEGER NOT NULL
) STRICT;
