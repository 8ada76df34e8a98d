-- Losses that were taken back, because their clients had had their answers (crates/billing/src/correction.rs): what the
-- row of the same id in request_logs, which stays as it is, should have said. A correction is a transaction of the kind
-- 'usage' whose "corrects" names the transaction of the loss.
CREATE TABLE request_corrections (
    LIKE request_logs INCLUDING CONSTRAINTS,
    PRIMARY KEY (id),
    CONSTRAINT request_corrections_charge CHECK (loss_reason IS NULL)
);
CREATE INDEX request_corrections_by_transaction ON request_corrections (transaction_id);
CREATE INDEX request_corrections_by_generation ON request_corrections (generation_id) WHERE generation_id IS NOT NULL;
CREATE INDEX request_corrections_by_key ON request_corrections (api_key_id, finished_at);

CREATE TRIGGER request_corrections_keep BEFORE UPDATE ON request_corrections
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER request_corrections_stay BEFORE DELETE ON request_corrections
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER request_corrections_whole BEFORE TRUNCATE ON request_corrections
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
