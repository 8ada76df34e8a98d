-- What upstreams say that they billed, compared with what is booked.

-- Whoever verifies the ledger reads this table for long, and while a change waits for it, everyone else waits behind. So
-- it is waited for only briefly, and often. The rows that are there need not be checked again.
DO $$
BEGIN
    FOR attempt IN 1..1000 LOOP
        BEGIN
            SET LOCAL lock_timeout = '200ms';
            ALTER TABLE ledger_accounts
                DROP CONSTRAINT ledger_accounts_kind_check,
                ADD CONSTRAINT ledger_accounts_kind_check CHECK (kind IN (
                    'client_balance', 'receivable', 'revenue', 'cost_of_sales', 'upstream_credit', 'loss_crash',
                    'loss_uncollected', 'loss_failed_attempt', 'loss_unknown', 'grants', 'reconciliation'
                )) NOT VALID;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = 1000 THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.5);
        END;
    END LOOP;
    SET LOCAL lock_timeout = DEFAULT;
END $$;

-- What differs. One that changes, or turns out to be none, gets another entry: what stands is the sum of its entries.
-- The transaction is an adjustment between the accounts upstream_credit and reconciliation of the master account.
CREATE TABLE reconciliation_findings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    master_account_id uuid NOT NULL,
    day date NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('day', 'request', 'doubled', 'keys', 'credits')),
    -- Of a request its id, of a doubled generation the upstream's id; else nothing.
    subject text COLLATE "C" NOT NULL,
    purse text COLLATE "C" NOT NULL CHECK (purse IN ('credits', 'provider')),
    number bigint NOT NULL CHECK (number > 0),
    -- USD, exactly. NULL: the upstream knows of no such request.
    ours numeric NOT NULL,
    theirs numeric,
    -- What this entry adds, in the upstream's dollars.
    difference_nanos bigint NOT NULL CHECK (difference_nanos <> 0),
    -- What is posted for it: what that costs the operator.
    cost_nanos bigint NOT NULL,
    transaction_id bigint,
    found_at timestamptz NOT NULL,
    UNIQUE (master_account_id, day, kind, subject, purse, number),
    CHECK ((transaction_id IS NULL) = (cost_nanos = 0))
);
CREATE INDEX reconciliation_findings_by_day ON reconciliation_findings (day);

CREATE TRIGGER reconciliation_findings_keep BEFORE UPDATE ON reconciliation_findings
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reconciliation_findings_stay BEFORE DELETE ON reconciliation_findings
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reconciliation_findings_whole BEFORE TRUNCATE ON reconciliation_findings
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Which days have been compared, and which replica is at one: until then no other takes it.
CREATE TABLE reconciliation_days (
    master_account_id uuid NOT NULL,
    day date NOT NULL,
    claimed_until timestamptz NOT NULL,
    reconciled_at timestamptz,
    -- What the next day is expected to show (crates/billing/src/reconciliation/judgement.rs).
    carried_credits numeric NOT NULL DEFAULT 0,
    carried_at_provider numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (master_account_id, day)
);

-- Sums that only grow, as upstreams told them.
CREATE TABLE upstream_readings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    master_account_id uuid NOT NULL,
    -- The account's credit, or the inference keys that were asked.
    source text COLLATE "C" NOT NULL,
    credits numeric NOT NULL,
    at_provider numeric NOT NULL,
    taken_at timestamptz NOT NULL
);
CREATE INDEX upstream_readings_by_account ON upstream_readings (master_account_id, taken_at);
