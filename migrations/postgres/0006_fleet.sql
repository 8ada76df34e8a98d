-- Master accounts as inventory: several keys each, a management key, weight, concentration limit, draining, credit.

ALTER TABLE master_accounts
    -- Servers of the version before know two statuses: for them a draining account is a paused one.
    ADD COLUMN drains boolean NOT NULL DEFAULT false CHECK (NOT drains OR status = 'paused'),
    -- What its upstream speaks.
    ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'openrouter' CHECK (kind IN ('openrouter', 'compatible')),
    -- Its part of the load among accounts that cost the same.
    ADD COLUMN weight integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
    -- No more than so many percent of the traffic are wanted on it.
    ADD COLUMN most_share_percent integer CHECK (most_share_percent BETWEEN 1 AND 99),
    ADD COLUMN sealed_management_key bytea,
    -- SHA-256 of the key in hex.
    ADD COLUMN management_key_fingerprint text COLLATE "C",
    ADD CHECK ((management_key_fingerprint IS NULL) = (sealed_management_key IS NULL));

-- The inference keys of master accounts. The first one has its account's id, is also in master_accounts, and is sealed
-- for its place there.
CREATE TABLE master_account_keys (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    master_account_id uuid NOT NULL REFERENCES master_accounts (id) ON DELETE CASCADE,
    sealed_key bytea NOT NULL,
    -- SHA-256 of the key in hex.
    fingerprint text COLLATE "C" NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
CREATE INDEX master_account_keys_by_account ON master_account_keys (master_account_id);

INSERT INTO master_account_keys (id, master_account_id, sealed_key, fingerprint, created_at)
SELECT id, id, sealed_key, key_fingerprint, created_at FROM master_accounts ORDER BY seq;

-- However an account is added, its key is among its keys.
CREATE FUNCTION master_account_first_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO master_account_keys (id, master_account_id, sealed_key, fingerprint, created_at)
    VALUES (NEW.id, NEW.id, NEW.sealed_key, NEW.key_fingerprint, NEW.created_at);
    RETURN NULL;
END $$;
CREATE TRIGGER master_accounts_first_key AFTER INSERT ON master_accounts
FOR EACH ROW EXECUTE FUNCTION master_account_first_key();

-- A removed key is nowhere any more.
CREATE FUNCTION master_account_first_key_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE master_accounts SET sealed_key = '', key_fingerprint = 'removed ' || id WHERE id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER master_account_keys_first_removed AFTER DELETE ON master_account_keys
FOR EACH ROW WHEN (OLD.id = OLD.master_account_id) EXECUTE FUNCTION master_account_first_key_removed();

CREATE TRIGGER master_account_keys_changed AFTER INSERT OR UPDATE OR DELETE ON master_account_keys
FOR EACH STATEMENT EXECUTE FUNCTION master_accounts_changed();

-- What the upstream last said of an account's credit. Replicas look at it before they ask; nobody is told of changes.
CREATE TABLE master_account_credit (
    master_account_id uuid PRIMARY KEY REFERENCES master_accounts (id) ON DELETE CASCADE,
    bought_nanos bigint NOT NULL,
    used_nanos bigint NOT NULL,
    -- What is used in a day at the present pace, once that is known.
    pace_nanos bigint CHECK (pace_nanos >= 0),
    seen_at timestamptz NOT NULL
);
