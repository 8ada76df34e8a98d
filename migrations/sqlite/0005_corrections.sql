-- Losses that were taken back, because their clients had had their answers (crates/billing/src/correction.rs): what the
-- row of the same id in request_logs, which stays as it is, should have said. A correction is a transaction of the kind
-- 'usage' whose "corrects" names the transaction of the loss.
CREATE TABLE request_corrections (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    transaction_id INTEGER NOT NULL REFERENCES ledger_transactions (id),
    api_key_id BLOB NOT NULL,
    payer_id BLOB NOT NULL,
    price_terms_id INTEGER NOT NULL REFERENCES price_terms (id),
    budget_set_id INTEGER NOT NULL REFERENCES budget_sets (id),
    generation_id TEXT,
    -- The model and the provider that answered.
    model TEXT,
    provider TEXT,
    delivery TEXT NOT NULL,
    ending TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL CHECK (prompt_tokens >= 0),
    completion_tokens INTEGER NOT NULL CHECK (completion_tokens >= 0),
    cached_tokens INTEGER NOT NULL CHECK (cached_tokens >= 0),
    cache_write_tokens INTEGER NOT NULL CHECK (cache_write_tokens >= 0),
    audio_tokens INTEGER NOT NULL CHECK (audio_tokens >= 0),
    reasoning_tokens INTEGER NOT NULL CHECK (reasoning_tokens >= 0),
    image_output_tokens INTEGER NOT NULL CHECK (image_output_tokens >= 0),
    -- USD, exactly.
    reported_cost TEXT NOT NULL CHECK (reported_cost NOT LIKE '-%'),
    cost_source TEXT NOT NULL,
    -- What the inference cost at the provider, when it was paid there with a key of the account's own.
    upstream_inference_cost TEXT CHECK (upstream_inference_cost NOT LIKE '-%'),
    list_cost TEXT NOT NULL CHECK (list_cost NOT LIKE '-%'),
    cost_nanos INTEGER NOT NULL CHECK (cost_nanos >= 0),
    price_nanos INTEGER NOT NULL CHECK (price_nanos >= 0),
    charged_nanos INTEGER NOT NULL CHECK (charged_nanos >= 0),
    uncollected_nanos INTEGER NOT NULL CHECK (uncollected_nanos >= 0),
    -- What it counts in each budget of requests.
    charged_requests INTEGER NOT NULL CHECK (charged_requests >= 0),
    -- The client pays.
    loss_reason TEXT CHECK (loss_reason IS NULL),
    hold_nanos INTEGER NOT NULL CHECK (hold_nanos >= 0),
    admitted_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    first_byte_micros INTEGER CHECK (first_byte_micros >= 0),
    CHECK (charged_nanos + uncollected_nanos = price_nanos)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_corrections_by_transaction ON request_corrections (transaction_id);
CREATE INDEX request_corrections_by_generation ON request_corrections (generation_id) WHERE generation_id IS NOT NULL;
CREATE INDEX request_corrections_by_key ON request_corrections (api_key_id, finished_at);

CREATE TRIGGER request_corrections_keep BEFORE UPDATE ON request_corrections
BEGIN SELECT RAISE(ABORT, 'request_corrections is append-only'); END;
CREATE TRIGGER request_corrections_stay BEFORE DELETE ON request_corrections
BEGIN SELECT RAISE(ABORT, 'request_corrections is append-only'); END;
