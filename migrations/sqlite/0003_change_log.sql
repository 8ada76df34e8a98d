-- What running processes have cached and must read again. Triggers write it, so that a change by plain SQL acts too.

CREATE TABLE change_log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN (
        'account', 'key', 'balance', 'budget', 'recall_balance', 'recall_budget', 'master_accounts', 'prices'
    )),
    -- An accounts (account, balance), api_keys (key) or budgets (budget) id.
    id BLOB
) STRICT;

CREATE TRIGGER accounts_changed AFTER UPDATE ON accounts
BEGIN INSERT INTO change_log (kind, id) VALUES ('account', NEW.id); END;

CREATE TRIGGER users_changed AFTER UPDATE OF status ON users
BEGIN INSERT INTO change_log (kind, id) SELECT 'account', account_id FROM persons WHERE user_id = NEW.id; END;

CREATE TRIGGER memberships_added AFTER INSERT ON memberships
BEGIN INSERT INTO change_log (kind, id) VALUES ('account', NEW.organization_id); END;
CREATE TRIGGER memberships_changed AFTER UPDATE ON memberships
BEGIN INSERT INTO change_log (kind, id) VALUES ('account', NEW.organization_id); END;
CREATE TRIGGER memberships_ended AFTER DELETE ON memberships
BEGIN INSERT INTO change_log (kind, id) VALUES ('account', OLD.organization_id); END;

-- A new key too: a cache may remember that there was none.
CREATE TRIGGER api_keys_added AFTER INSERT ON api_keys
BEGIN INSERT INTO change_log (kind, id) VALUES ('key', NEW.id); END;
CREATE TRIGGER api_keys_changed
AFTER UPDATE OF hash, preview, name, account_id, payer_id, requests_per_minute, tokens_per_minute, concurrent_requests,
    allowed_models, expires_at, revoked_at
ON api_keys
BEGIN INSERT INTO change_log (kind, id) VALUES ('key', NEW.id); END;
CREATE TRIGGER api_keys_removed AFTER DELETE ON api_keys
BEGIN INSERT INTO change_log (kind, id) VALUES ('key', OLD.id); END;

-- Settlements change the balance together with what was ever spent; caches need no word of those.
CREATE TRIGGER balances_changed AFTER UPDATE OF balance_nanos, credit_line_nanos ON balances
WHEN NEW.credit_line_nanos <> OLD.credit_line_nanos
    OR (NEW.balance_nanos <> OLD.balance_nanos AND NEW.lifetime_spent_nanos = OLD.lifetime_spent_nanos)
BEGIN INSERT INTO change_log (kind, id) VALUES ('balance', NEW.account_id); END;

CREATE TRIGGER budgets_added AFTER INSERT ON budgets
BEGIN
    INSERT INTO change_log (kind, id)
    SELECT CASE NEW.owner_kind WHEN 'key' THEN 'key' ELSE 'account' END,
        CASE NEW.owner_kind
            WHEN 'member' THEN (SELECT organization_id FROM memberships WHERE id = NEW.owner_id)
            ELSE NEW.owner_id
        END
    WHERE NEW.owner_kind <> 'member' OR EXISTS (SELECT 1 FROM memberships WHERE id = NEW.owner_id);
END;
CREATE TRIGGER budgets_changed AFTER UPDATE OF cap ON budgets
BEGIN
    INSERT INTO change_log (kind, id) VALUES ('budget', NEW.id);
    INSERT INTO change_log (kind, id)
    SELECT CASE NEW.owner_kind WHEN 'key' THEN 'key' ELSE 'account' END,
        CASE NEW.owner_kind
            WHEN 'member' THEN (SELECT organization_id FROM memberships WHERE id = NEW.owner_id)
            ELSE NEW.owner_id
        END
    WHERE (OLD.cap IS NULL) <> (NEW.cap IS NULL)
        AND (NEW.owner_kind <> 'member' OR EXISTS (SELECT 1 FROM memberships WHERE id = NEW.owner_id));
END;

-- The monthly limit of a tier is the cap of a budget of each account in it.
CREATE TRIGGER tiers_changed AFTER UPDATE OF monthly_limit_nanos ON tiers
BEGIN
    UPDATE budgets SET cap = NEW.monthly_limit_nanos
    WHERE owner_kind = 'tier' AND owner_id IN (SELECT id FROM accounts WHERE tier = NEW.name);
    INSERT INTO change_log (kind) VALUES ('prices');
END;
CREATE TRIGGER accounts_tier_changed AFTER UPDATE OF tier ON accounts
WHEN NEW.tier IS NOT OLD.tier
BEGIN
    INSERT INTO budgets (id, owner_kind, owner_id, quantity, period, cap)
    VALUES (
        randomblob(16), 'tier', NEW.id, 'nanos', 'month',
        (SELECT monthly_limit_nanos FROM tiers WHERE name = NEW.tier)
    )
    ON CONFLICT (owner_id, owner_kind, quantity, period) DO UPDATE SET cap = excluded.cap;
END;

CREATE TRIGGER master_accounts_added AFTER INSERT ON master_accounts
BEGIN INSERT INTO change_log (kind) VALUES ('master_accounts'); END;
CREATE TRIGGER master_accounts_changed AFTER UPDATE ON master_accounts
BEGIN INSERT INTO change_log (kind) VALUES ('master_accounts'); END;

CREATE TRIGGER plan_versions_added AFTER INSERT ON plan_versions
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER model_pricing_added AFTER INSERT ON model_pricing
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
CREATE TRIGGER model_pricing_changed AFTER UPDATE OF is_active ON model_pricing
BEGIN INSERT INTO change_log (kind) VALUES ('prices'); END;
