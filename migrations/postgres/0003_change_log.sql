-- What running replicas have cached and must read again. Triggers write it, so that a change by plain SQL acts too.
--
-- Numbers are given before transactions commit, in whatever order: a reader that went by them would miss some. Each change
-- therefore names its transaction, and a reader asks for those that its last snapshot did not see.
CREATE TABLE change_log (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind text COLLATE "C" NOT NULL CHECK (kind IN (
        'account', 'key', 'balance', 'budget', 'recall_balance', 'recall_budget', 'master_accounts', 'prices'
    )),
    -- An accounts (account, balance), api_keys (key) or budgets (budget) id.
    id uuid,
    written_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX change_log_by_transaction ON change_log (xid);

-- Changes of earlier transactions are no longer listed.
CREATE TABLE change_log_pruned (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    before xid8 NOT NULL
);
INSERT INTO change_log_pruned (before) VALUES ('0');

-- A crash may give the number of a lost transaction to another one, so snapshots from before it mean nothing after it.
-- It empties this table, which is not logged; a reader that finds no row adds one.
CREATE UNLOGGED TABLE server_lives (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id uuid NOT NULL DEFAULT gen_random_uuid()
);

-- A hint for those who listen; whoever misses it looks by itself, a little later.
CREATE FUNCTION notify_of_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('airouter_changes', '');
    RETURN NULL;
END $$;
CREATE TRIGGER change_log_notify AFTER INSERT ON change_log
FOR EACH STATEMENT EXECUTE FUNCTION notify_of_changes();

CREATE FUNCTION account_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change_log (kind, id) VALUES ('account', NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_changed AFTER UPDATE ON accounts
FOR EACH ROW EXECUTE FUNCTION account_changed();

CREATE FUNCTION user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change_log (kind, id) SELECT 'account', account_id FROM persons WHERE user_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER users_changed AFTER UPDATE OF status ON users
FOR EACH ROW EXECUTE FUNCTION user_changed();

CREATE FUNCTION membership_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change_log (kind, id) VALUES ('account', coalesce(NEW.organization_id, OLD.organization_id));
    RETURN NULL;
END $$;
CREATE TRIGGER memberships_changed AFTER INSERT OR UPDATE OR DELETE ON memberships
FOR EACH ROW EXECUTE FUNCTION membership_changed();

-- A new key too: a cache may remember that there was none.
CREATE FUNCTION api_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change_log (kind, id) VALUES ('key', coalesce(NEW.id, OLD.id));
    RETURN NULL;
END $$;
CREATE TRIGGER api_keys_added AFTER INSERT ON api_keys
FOR EACH ROW EXECUTE FUNCTION api_key_changed();
CREATE TRIGGER api_keys_changed
AFTER UPDATE OF hash, preview, name, account_id, payer_id, requests_per_minute, tokens_per_minute, concurrent_requests,
    allowed_models, expires_at, revoked_at
ON api_keys
FOR EACH ROW EXECUTE FUNCTION api_key_changed();
CREATE TRIGGER api_keys_removed AFTER DELETE ON api_keys
FOR EACH ROW EXECUTE FUNCTION api_key_changed();

-- Settlements change the balance together with what was ever spent; caches need no word of those.
CREATE FUNCTION balance_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change_log (kind, id) VALUES ('balance', NEW.account_id);
    RETURN NULL;
END $$;
CREATE TRIGGER balances_changed AFTER UPDATE OF balance_nanos, credit_line_nanos ON balances
FOR EACH ROW WHEN (
    NEW.credit_line_nanos <> OLD.credit_line_nanos
    OR (NEW.balance_nanos <> OLD.balance_nanos AND NEW.lifetime_spent_nanos = OLD.lifetime_spent_nanos)
)
EXECUTE FUNCTION balance_changed();

-- The key or the account whose budgets are others than before.
CREATE FUNCTION budget_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.owner_kind = 'member' THEN
        INSERT INTO change_log (kind, id) SELECT 'account', organization_id FROM memberships WHERE id = NEW.owner_id;
    ELSE
        INSERT INTO change_log (kind, id)
        VALUES (CASE NEW.owner_kind WHEN 'key' THEN 'key' ELSE 'account' END, NEW.owner_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER budgets_added AFTER INSERT ON budgets
FOR EACH ROW EXECUTE FUNCTION budget_added();
CREATE TRIGGER budgets_lifted_or_set AFTER UPDATE OF cap ON budgets
FOR EACH ROW WHEN ((OLD.cap IS NULL) <> (NEW.cap IS NULL)) EXECUTE FUNCTION budget_added();

CREATE FUNCTION budget_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change_log (kind, id) VALUES ('budget', NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER budgets_changed AFTER UPDATE OF cap ON budgets
FOR EACH ROW EXECUTE FUNCTION budget_changed();

-- The monthly limit of a tier is the cap of a budget of each account in it.
CREATE FUNCTION tier_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budgets SET cap = NEW.monthly_limit_nanos
    WHERE owner_kind = 'tier' AND owner_id IN (SELECT id FROM accounts WHERE tier = NEW.name);
    INSERT INTO change_log (kind) VALUES ('prices');
    RETURN NULL;
END $$;
CREATE TRIGGER tiers_changed AFTER UPDATE OF monthly_limit_nanos ON tiers
FOR EACH ROW EXECUTE FUNCTION tier_changed();

CREATE FUNCTION account_tier_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO budgets (id, owner_kind, owner_id, quantity, period, cap)
    VALUES (
        gen_random_uuid(), 'tier', NEW.id, 'nanos', 'month',
        (SELECT monthly_limit_nanos FROM tiers WHERE name = NEW.tier)
    )
    ON CONFLICT (owner_id, owner_kind, quantity, period) DO UPDATE SET cap = excluded.cap;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_tier_changed AFTER UPDATE OF tier ON accounts
FOR EACH ROW WHEN (NEW.tier IS DISTINCT FROM OLD.tier) EXECUTE FUNCTION account_tier_changed();

CREATE FUNCTION master_accounts_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change_log (kind) VALUES ('master_accounts');
    RETURN NULL;
END $$;
CREATE TRIGGER master_accounts_changed AFTER INSERT OR UPDATE OR DELETE ON master_accounts
FOR EACH STATEMENT EXECUTE FUNCTION master_accounts_changed();

CREATE FUNCTION prices_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change_log (kind) VALUES ('prices');
    RETURN NULL;
END $$;
CREATE TRIGGER plan_versions_added AFTER INSERT ON plan_versions
FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER model_pricing_added AFTER INSERT ON model_pricing
FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER model_pricing_changed AFTER UPDATE OF is_active ON model_pricing
FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
