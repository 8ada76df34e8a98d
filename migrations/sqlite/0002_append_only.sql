-- Nothing about money is updated or deleted: a correction is a new entry.

CREATE TRIGGER ledger_transactions_keep BEFORE UPDATE ON ledger_transactions
BEGIN SELECT RAISE(ABORT, 'ledger_transactions is append-only'); END;
CREATE TRIGGER ledger_transactions_stay BEFORE DELETE ON ledger_transactions
BEGIN SELECT RAISE(ABORT, 'ledger_transactions is append-only'); END;

CREATE TRIGGER ledger_postings_keep BEFORE UPDATE ON ledger_postings
BEGIN SELECT RAISE(ABORT, 'ledger_postings is append-only'); END;
CREATE TRIGGER ledger_postings_stay BEFORE DELETE ON ledger_postings
BEGIN SELECT RAISE(ABORT, 'ledger_postings is append-only'); END;

CREATE TRIGGER request_logs_keep BEFORE UPDATE ON request_logs
BEGIN SELECT RAISE(ABORT, 'request_logs is append-only'); END;
CREATE TRIGGER request_logs_stay BEFORE DELETE ON request_logs
BEGIN SELECT RAISE(ABORT, 'request_logs is append-only'); END;

CREATE TRIGGER price_terms_keep BEFORE UPDATE ON price_terms
BEGIN SELECT RAISE(ABORT, 'price_terms is append-only'); END;
CREATE TRIGGER price_terms_stay BEFORE DELETE ON price_terms
BEGIN SELECT RAISE(ABORT, 'price_terms is append-only'); END;

CREATE TRIGGER budget_sets_keep BEFORE UPDATE ON budget_sets
BEGIN SELECT RAISE(ABORT, 'budget_sets is append-only'); END;
CREATE TRIGGER budget_sets_stay BEFORE DELETE ON budget_sets
BEGIN SELECT RAISE(ABORT, 'budget_sets is append-only'); END;

CREATE TRIGGER plan_versions_keep BEFORE UPDATE ON plan_versions
BEGIN SELECT RAISE(ABORT, 'plan_versions is append-only'); END;
CREATE TRIGGER plan_versions_stay BEFORE DELETE ON plan_versions
BEGIN SELECT RAISE(ABORT, 'plan_versions is append-only'); END;

-- A version only stops being sold.
CREATE TRIGGER model_pricing_keep
BEFORE UPDATE OF id, provider, model, in_force_from, pricing, context_length, max_completion_tokens, output_limit, listing
ON model_pricing
BEGIN SELECT RAISE(ABORT, 'the prices of model_pricing are append-only'); END;
CREATE TRIGGER model_pricing_stay BEFORE DELETE ON model_pricing
BEGIN SELECT RAISE(ABORT, 'model_pricing is append-only'); END;

-- A request was charged to it: it is lifted by a cap of NULL.
CREATE TRIGGER budgets_stay BEFORE DELETE ON budgets
BEGIN SELECT RAISE(ABORT, 'a budget is lifted by setting its cap to NULL'); END;
CREATE TRIGGER budgets_keep BEFORE UPDATE OF id, owner_kind, owner_id, quantity, period ON budgets
BEGIN SELECT RAISE(ABORT, 'only the cap of a budget changes'); END;
