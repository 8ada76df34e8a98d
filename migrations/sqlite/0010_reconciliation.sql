-- What upstreams say that they billed, compared with what is booked.

-- One more kind of ledger account. SQLite can't change a constraint; a new table in the place of this one would mean to go
-- through all postings. No row is stored otherwise under the wider constraint, which is when the text of a table may be
-- changed in this way (sqlite.org/lang_altertable.html); the tables below bring the new text into force.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''loss_unknown'', ''grants''', '''loss_unknown'', ''grants'', ''reconciliation''')
WHERE type = 'table' AND name = 'ledger_accounts';
PRAGMA writable_schema = RESET;

-- What differs. One that changes, or turns out to be none, gets another entry: what stands is the sum of its entries.
-- The transaction is an adjustment between the accounts upstream_credit and reconciliation of the master account.
CREATE TABLE reconciliation_findings (
    id INTEGER PRIMARY KEY,
    master_account_id BLOB NOT NULL CHECK (length(master_account_id) = 16),
    -- As in 2026-11-20.
    day TEXT NOT NULL CHECK (length(day) = 10),
    kind TEXT NOT NULL CHECK (kind IN ('day', 'request', 'doubled', 'keys', 'credits')),
    -- Of a request its id, of a doubled generation the upstream's id; else nothing.
    subject TEXT NOT NULL,
    purse TEXT NOT NULL CHECK (purse IN ('credits', 'provider')),
    number INTEGER NOT NULL CHECK (number > 0),
    -- USD, exactly. NULL: the upstream knows of no such request.
    ours TEXT NOT NULL,
    theirs TEXT,
    -- What this entry adds, in the upstream's dollars.
    difference_nanos INTEGER NOT NULL CHECK (difference_nanos <> 0),
    -- What is posted for it: what that costs the operator.
    cost_nanos INTEGER NOT NULL,
    transaction_id INTEGER REFERENCES ledger_transactions (id),
    found_at INTEGER NOT NULL,
    UNIQUE (master_account_id, day, kind, subject, purse, number),
    CHECK ((transaction_id IS NULL) = (cost_nanos = 0))
) STRICT;
CREATE INDEX reconciliation_findings_by_day ON reconciliation_findings (day);

CREATE TRIGGER reconciliation_findings_keep BEFORE UPDATE ON reconciliation_findings
BEGIN SELECT RAISE(ABORT, 'reconciliation_findings is append-only'); END;
CREATE TRIGGER reconciliation_findings_stay BEFORE DELETE ON reconciliation_findings
BEGIN SELECT RAISE(ABORT, 'reconciliation_findings is append-only'); END;

-- Which days have been compared, and which process is at one: until then no other takes it.
CREATE TABLE reconciliation_days (
    master_account_id BLOB NOT NULL CHECK (length(master_account_id) = 16),
    day TEXT NOT NULL CHECK (length(day) = 10),
    claimed_until INTEGER NOT NULL,
    reconciled_at INTEGER,
    -- What the next day is expected to show (crates/billing/src/reconciliation/judgement.rs).
    carried_credits TEXT NOT NULL DEFAULT '0',
    carried_at_provider TEXT NOT NULL DEFAULT '0',
    PRIMARY KEY (master_account_id, day)
) STRICT, WITHOUT ROWID;

-- Sums that only grow, as upstreams told them.
CREATE TABLE upstream_readings (
    id INTEGER PRIMARY KEY,
    master_account_id BLOB NOT NULL CHECK (length(master_account_id) = 16),
    -- The account's credit, or the inference keys that were asked.
    source TEXT NOT NULL,
    credits TEXT NOT NULL,
    at_provider TEXT NOT NULL,
    taken_at INTEGER NOT NULL
) STRICT;
CREATE INDEX upstream_readings_by_account ON upstream_readings (master_account_id, taken_at);
