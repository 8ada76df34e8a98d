-- What was given back of single requests (crates/billing/src/refund.rs). The transaction is an adjustment that names the
-- one of the charge in "corrects"; it has the reason, who and when.
CREATE TABLE request_refunds (
    transaction_id INTEGER PRIMARY KEY REFERENCES ledger_transactions (id),
    request_id BLOB NOT NULL CHECK (length(request_id) = 16),
    amount_nanos INTEGER NOT NULL CHECK (amount_nanos > 0),
    -- What of the balance then paid what the account owed.
    debt_paid_nanos INTEGER NOT NULL CHECK (debt_paid_nanos >= 0)
) STRICT;
CREATE INDEX request_refunds_by_request ON request_refunds (request_id);

CREATE TRIGGER request_refunds_within_charge BEFORE INSERT ON request_refunds
WHEN NEW.amount_nanos + (SELECT coalesce(sum(amount_nanos), 0) FROM request_refunds WHERE request_id = NEW.request_id)
    > coalesce(
        (SELECT charged_nanos FROM request_corrections WHERE id = NEW.request_id),
        (SELECT charged_nanos FROM request_logs WHERE id = NEW.request_id),
        0)
BEGIN SELECT RAISE(ABORT, 'a refund is above its charge'); END;

CREATE TRIGGER request_refunds_keep BEFORE UPDATE ON request_refunds
BEGIN SELECT RAISE(ABORT, 'request_refunds is append-only'); END;
CREATE TRIGGER request_refunds_stay BEFORE DELETE ON request_refunds
BEGIN SELECT RAISE(ABORT, 'request_refunds is append-only'); END;

-- A page of an account's requests, in the order of their ids.
CREATE INDEX request_logs_by_payer ON request_logs (payer_id, id);
