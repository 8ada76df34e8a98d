-- What keys may do beyond their models: from where they may be used; and limits that are set while a period runs.

ALTER TABLE api_keys
    -- Networks such as 192.0.2.0/24; NULL is every address.
    ADD COLUMN allowed_addresses text[],
    ADD CONSTRAINT api_keys_allowed_addresses
        CHECK (allowed_addresses IS NULL OR allowed_addresses::cidr[] IS NOT NULL) NOT VALID;

DROP TRIGGER api_keys_changed ON api_keys;
CREATE TRIGGER api_keys_changed
AFTER UPDATE OF hash, preview, name, account_id, payer_id, requests_per_minute, tokens_per_minute, concurrent_requests,
    allowed_models, allowed_addresses, expires_at, revoked_at
ON api_keys
FOR EACH ROW EXECUTE FUNCTION api_key_changed();

-- A page of the keys that an account pays for.
CREATE INDEX api_keys_of_payer ON api_keys (payer_id, id);

-- What the owner of a budget had spent of the period before the budget was set: it counts against the cap, and is charged
-- to no budget. Servers of the version before don't know it; what they would lease beyond it is refused below.
ALTER TABLE budget_periods ADD COLUMN spent_before bigint NOT NULL DEFAULT 0;
ALTER TABLE budget_periods ADD CONSTRAINT budget_periods_spent_before CHECK (spent_before >= 0) NOT VALID;

CREATE OR REPLACE FUNCTION check_reservation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.reserved + NEW.spent + NEW.spent_before > (SELECT cap FROM budgets WHERE id = NEW.budget_id) THEN
        RAISE EXCEPTION 'a reservation is beyond the cap'
            USING ERRCODE = 'check_violation', TABLE = 'budget_periods', CONSTRAINT = 'reservation_within_cap';
    END IF;
    RETURN NEW;
END $$;
