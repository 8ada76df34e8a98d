SELECT wanted.position AS "position?", NULL::uuid AS "id?",
    coalesce(l.amount, 0) AS "first!",
    CASE
        WHEN wanted.is_balance THEN (
            SELECT balance_nanos + credit_line_nanos - reserved_nanos - coalesce((
                SELECT a.balance_nanos FROM ledger_accounts a
                WHERE a.kind = 'receivable' AND a.owner_id = wanted.id), 0)
            FROM balances WHERE account_id = wanted.id)
        ELSE (
            SELECT coalesce(b.cap, 9223372036854775807) - coalesce(p.spent + p.spent_before, 0) - coalesce(p.reserved, 0)
            FROM budgets b
            LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period_start = wanted.period_start
            WHERE b.id = wanted.id)
    END AS "second?",
    CASE
        WHEN wanted.is_balance THEN (SELECT reserved_nanos FROM balances WHERE account_id = wanted.id)
        ELSE (
            SELECT p.reserved FROM budget_periods p
            WHERE p.budget_id = wanted.id AND p.period_start = wanted.period_start)
    END - coalesce(l.amount, 0) AS "third?"
FROM unnest($1::boolean[], $2::uuid[], $3::timestamptz[]) WITH ORDINALITY
    AS wanted (is_balance, id, period_start, position)
LEFT JOIN leases l
    ON l.replica_id = $4 AND l.budget_id = wanted.id AND l.period_start = wanted.period_start
UNION ALL
SELECT NULL, id, (loss_reason IS NOT NULL)::integer, NULL, NULL FROM request_logs WHERE id = ANY ($5)
