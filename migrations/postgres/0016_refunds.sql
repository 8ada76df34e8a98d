-- What was given back of single requests (crates/billing/src/refund.rs). The transaction is an adjustment that names the
-- one of the charge in "corrects"; it has the reason, who and when.
CREATE TABLE request_refunds (
    transaction_id bigint PRIMARY KEY,
    request_id uuid NOT NULL,
    amount_nanos bigint NOT NULL CHECK (amount_nanos > 0),
    -- What of the balance then paid what the account owed.
    debt_paid_nanos bigint NOT NULL CHECK (debt_paid_nanos >= 0)
);
CREATE INDEX request_refunds_by_request ON request_refunds (request_id);

-- Whoever refunds has the balance of the payer locked: nobody else does at the same time.
CREATE FUNCTION check_refund() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.amount_nanos + (SELECT coalesce(sum(amount_nanos), 0) FROM request_refunds WHERE request_id = NEW.request_id)
        > coalesce(
            (SELECT charged_nanos FROM request_corrections WHERE id = NEW.request_id),
            (SELECT charged_nanos FROM request_logs WHERE id = NEW.request_id),
            0)
    THEN
        RAISE EXCEPTION 'a refund is above its charge'
            USING ERRCODE = 'check_violation', TABLE = 'request_refunds', CONSTRAINT = 'refunds_within_charge';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER request_refunds_within_charge BEFORE INSERT ON request_refunds
FOR EACH ROW EXECUTE FUNCTION check_refund();

CREATE TRIGGER request_refunds_keep BEFORE UPDATE ON request_refunds
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER request_refunds_stay BEFORE DELETE ON request_refunds
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER request_refunds_whole BEFORE TRUNCATE ON request_refunds
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
