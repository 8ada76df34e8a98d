-- What keys may do beyond their models: from where they may be used; and limits that are set while a period runs.

-- A JSON array of networks such as 192.0.2.0/24; NULL is every address.
ALTER TABLE api_keys ADD COLUMN allowed_addresses TEXT CHECK (json_type(allowed_addresses) = 'array');

DROP TRIGGER api_keys_changed;
CREATE TRIGGER api_keys_changed
AFTER UPDATE OF hash, preview, name, account_id, payer_id, requests_per_minute, tokens_per_minute, concurrent_requests,
    allowed_models, allowed_addresses, expires_at, revoked_at
ON api_keys
BEGIN INSERT INTO change_log (kind, id) VALUES ('key', NEW.id); END;

-- A page of the keys that an account pays for.
CREATE INDEX api_keys_of_payer ON api_keys (payer_id, id);

-- What the owner of a budget had spent of the period before the budget was set: it counts against the cap, and is charged
-- to no budget.
ALTER TABLE budget_periods ADD COLUMN spent_before INTEGER NOT NULL DEFAULT 0 CHECK (spent_before >= 0);

DROP TRIGGER budget_periods_reserve_within_cap;
CREATE TRIGGER budget_periods_reserve_within_cap BEFORE UPDATE OF reserved ON budget_periods
WHEN NEW.reserved > OLD.reserved
    AND NEW.reserved + NEW.spent + NEW.spent_before > (SELECT cap FROM budgets WHERE id = NEW.budget_id)
BEGIN SELECT RAISE(ABORT, 'a reservation is beyond the cap'); END;

DROP TRIGGER budget_periods_start_within_cap;
CREATE TRIGGER budget_periods_start_within_cap BEFORE INSERT ON budget_periods
WHEN NEW.reserved > 0
    AND NEW.reserved + NEW.spent + NEW.spent_before > (SELECT cap FROM budgets WHERE id = NEW.budget_id)
BEGIN SELECT RAISE(ABORT, 'a reservation is beyond the cap'); END;
