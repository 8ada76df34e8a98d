-- Each parameter may stand in one of the statements only: rows that two of them need are passed twice.
INSERT INTO ledger_transactions (id, kind, reason, actor, corrects, created_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each($1);

INSERT INTO ledger_accounts (kind, owner_id, balance_nanos)
SELECT value ->> 1, unhex(value ->> 2), value ->> 3 FROM json_each($2) WHERE true
ON CONFLICT (kind, owner_id) DO UPDATE SET balance_nanos = balance_nanos + excluded.balance_nanos;

INSERT INTO ledger_postings (transaction_id, ledger_account_id, amount_nanos)
SELECT posting.transaction_id, a.id, posting.amount
FROM (
    SELECT value ->> 0 AS transaction_id, value ->> 1 AS kind, unhex(value ->> 2) AS owner_id, value ->> 3 AS amount
    FROM json_each($3)
) AS posting
JOIN ledger_accounts a ON a.kind = posting.kind AND a.owner_id = posting.owner_id;

UPDATE leases SET amount = amount - changed.released
FROM (
    SELECT unhex(value ->> 0) AS id, value ->> 1 AS period_start, value ->> 2 AS released
    FROM json_each($4)
) AS changed
WHERE leases.replica_id = $5 AND leases.budget_id = changed.id
    AND leases.period_start = changed.period_start;

INSERT INTO budget_periods (budget_id, period_start)
SELECT b.id, changed.value ->> 1
FROM json_each($6) AS changed JOIN budgets b ON b.id = unhex(changed.value ->> 0)
WHERE true
ON CONFLICT DO NOTHING;

UPDATE budget_periods SET spent = budget_periods.spent + changed.spent, reserved = budget_periods.reserved - changed.released
FROM (
    SELECT unhex(value ->> 0) AS id, value ->> 1 AS period_start, value ->> 2 AS spent,
        value ->> 3 AS released
    FROM json_each($7)
) AS changed
WHERE budget_periods.budget_id = changed.id AND budget_periods.period_start = changed.period_start;

UPDATE balances
SET balance_nanos = balance_nanos + changed.balance,
    reserved_nanos = reserved_nanos - changed.released,
    lifetime_spent_nanos = lifetime_spent_nanos + changed.spent,
    lifetime_earned_nanos = lifetime_earned_nanos + changed.earned
FROM (
    SELECT unhex(value ->> 0) AS id, value ->> 1 AS balance, value ->> 2 AS released, value ->> 3 AS spent,
        value ->> 4 AS earned
    FROM json_each($8)
) AS changed
WHERE balances.account_id = changed.id;
