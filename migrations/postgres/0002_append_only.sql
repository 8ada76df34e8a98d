-- Nothing about money is updated or deleted: a correction is a new entry.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME;
END $$;

CREATE TRIGGER ledger_transactions_keep BEFORE UPDATE ON ledger_transactions
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_transactions_stay BEFORE DELETE ON ledger_transactions
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_transactions_whole BEFORE TRUNCATE ON ledger_transactions
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER ledger_postings_keep BEFORE UPDATE ON ledger_postings
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_postings_stay BEFORE DELETE ON ledger_postings
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_postings_whole BEFORE TRUNCATE ON ledger_postings
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER request_logs_keep BEFORE UPDATE ON request_logs
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER request_logs_stay BEFORE DELETE ON request_logs
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER request_logs_whole BEFORE TRUNCATE ON request_logs
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER price_terms_keep BEFORE UPDATE ON price_terms
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_terms_stay BEFORE DELETE ON price_terms
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_terms_whole BEFORE TRUNCATE ON price_terms
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER budget_sets_keep BEFORE UPDATE ON budget_sets
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER budget_sets_stay BEFORE DELETE ON budget_sets
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER budget_sets_whole BEFORE TRUNCATE ON budget_sets
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER plan_versions_keep BEFORE UPDATE ON plan_versions
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER plan_versions_stay BEFORE DELETE ON plan_versions
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER plan_versions_whole BEFORE TRUNCATE ON plan_versions
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER refused_settlements_keep BEFORE UPDATE ON refused_settlements
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refused_settlements_stay BEFORE DELETE ON refused_settlements
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refused_settlements_whole BEFORE TRUNCATE ON refused_settlements
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A version only stops being sold.
CREATE TRIGGER model_pricing_keep
BEFORE UPDATE OF id, provider, model, in_force_from, pricing, context_length, max_completion_tokens, output_limit, listing
ON model_pricing
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER model_pricing_stay BEFORE DELETE ON model_pricing
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER model_pricing_whole BEFORE TRUNCATE ON model_pricing
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A request was charged to it: it is lifted by a cap of NULL, and only its cap changes.
CREATE TRIGGER budgets_keep BEFORE UPDATE OF id, owner_kind, owner_id, quantity, period ON budgets
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER budgets_stay BEFORE DELETE ON budgets
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER budgets_whole BEFORE TRUNCATE ON budgets
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
