-- The accounts of the ledger come last: they wait for the counts of all other changes.
WITH changed_leases AS (
    UPDATE leases SET amount = amount - changed.released
    FROM unnest($2::uuid[], $3::timestamptz[], $4::bigint[]) AS changed (id, period_start, released)
    WHERE leases.replica_id = $1 AND leases.budget_id = changed.id AND leases.period_start = changed.period_start
    RETURNING 1
),
changed_periods AS (
    UPDATE budget_periods SET spent = budget_periods.spent + changed.spent, reserved = reserved - changed.released
    FROM unnest($5::uuid[], $6::timestamptz[], $7::bigint[], $8::bigint[])
        AS changed (id, period_start, spent, released)
    WHERE budget_periods.budget_id = changed.id AND budget_periods.period_start = changed.period_start
    RETURNING 1
),
changed_balances AS (
    UPDATE balances
    SET balance_nanos = balance_nanos + changed.balance,
        reserved_nanos = reserved_nanos - changed.released,
        lifetime_spent_nanos = lifetime_spent_nanos + changed.spent,
        lifetime_earned_nanos = lifetime_earned_nanos + changed.earned
    FROM unnest($9::uuid[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
        AS changed (id, balance, released, spent, earned)
    WHERE balances.account_id = changed.id
    RETURNING 1
),
changed AS MATERIALIZED (
    SELECT (SELECT count(*) FROM changed_leases) + (SELECT count(*) FROM changed_periods)
        + (SELECT count(*) FROM changed_balances) AS rows
),
posted AS (
    SELECT transaction_id, kind, owner_id, amount
    FROM unnest($14::bigint[], $15::text[], $16::uuid[], $17::bigint[])
        AS posted (transaction_id, kind, owner_id, amount)
),
accounts AS (
    INSERT INTO ledger_accounts (kind, owner_id, balance_nanos)
    SELECT posted.kind, posted.owner_id, sum(posted.amount)::bigint FROM posted, changed
    WHERE changed.rows >= 0
    GROUP BY posted.kind, posted.owner_id
    ORDER BY posted.kind, posted.owner_id
    ON CONFLICT (kind, owner_id) DO UPDATE SET balance_nanos = ledger_accounts.balance_nanos + excluded.balance_nanos
    RETURNING id, kind, owner_id
)
INSERT INTO ledger_postings (transaction_id, ledger_account_id, amount_nanos)
SELECT posted.transaction_id, accounts.id, posted.amount
FROM accounts JOIN posted ON posted.kind = accounts.kind AND posted.owner_id = accounts.owner_id
