-- Sums of requests by time, so that reports need not read every request (crates/store/src/rollups.rs). They are made
-- beside the requests, in the background; usage_rollup_state says how far they go.

-- What each entry adds to the sums, in the quarter of an hour in which its request was finished. What could make a sum
-- overflow is held at more than a request ever has: a million million tokens, a million dollars of list cost, a day.
-- An attempt that failed is a cost and no request that was served: its tokens are nobody's.
CREATE VIEW usage_added AS
SELECT entry.source, entry.place, entry.payer_id, entry.api_key_id, entry.finished_at,
    substr(coalesce(terms ->> 'shown_model', entry.model, terms ->> 'requested_model', ''), 1, 256) AS shown_model,
    substr(coalesce(entry.model, terms ->> 'requested_model', ''), 1, 256) AS model,
    coalesce(unhex(terms ->> 'master_account', '-'), zeroblob(16)) AS master_account_id,
    entry.served AS requests,
    CASE entry.loss_reason WHEN 'failed_attempt' THEN entry.counts ELSE 0 END AS failed_attempts,
    CASE WHEN entry.ending IN ('upstream_failed', 'interrupted') THEN entry.served ELSE 0 END AS errors,
    CASE WHEN entry.ending = 'client_gone' THEN entry.served ELSE 0 END AS cancelled,
    entry.served * min(entry.prompt_tokens, 1000000000000) AS prompt_tokens,
    entry.served * min(entry.completion_tokens, 1000000000000) AS completion_tokens,
    entry.served * min(entry.cached_tokens, 1000000000000) AS cached_tokens,
    entry.served * min(entry.cache_write_tokens, 1000000000000) AS cache_write_tokens,
    entry.served * min(entry.audio_tokens, 1000000000000) AS audio_tokens,
    entry.served * min(entry.reasoning_tokens, 1000000000000) AS reasoning_tokens,
    entry.served * min(entry.image_output_tokens, 1000000000000) AS image_output_tokens,
    -- Decimals are texts: dollars, nine digits of the nano-dollar, and the digit that rounds.
    entry.counts * CASE WHEN instr(entry.list_cost || '.', '.') > 7 THEN 1000000000000000 ELSE
        CAST(substr(entry.list_cost, 1, instr(entry.list_cost || '.', '.') - 1) AS INTEGER) * 1000000000
        + CAST(substr(substr(entry.list_cost, instr(entry.list_cost || '.', '.') + 1) || '000000000', 1, 9)
            AS INTEGER)
        + (substr(entry.list_cost, instr(entry.list_cost || '.', '.') + 10, 1) >= '5')
    END AS list_cost_nanos,
    CASE WHEN entry.loss_reason IS NULL THEN entry.counts * entry.cost_nanos ELSE 0 END AS cost_nanos,
    entry.counts * entry.price_nanos AS price_nanos,
    entry.counts * entry.charged_nanos AS charged_nanos,
    CASE entry.loss_reason WHEN 'crash' THEN entry.counts * entry.cost_nanos ELSE 0 END AS crash_nanos,
    CASE entry.loss_reason WHEN 'failed_attempt' THEN entry.counts * entry.cost_nanos ELSE 0 END AS failed_attempt_nanos,
    CASE entry.loss_reason WHEN 'unknown' THEN entry.counts * entry.cost_nanos ELSE 0 END AS unknown_nanos,
    entry.counts * entry.uncollected_nanos
        + CASE entry.loss_reason WHEN 'uncollected' THEN entry.counts * entry.cost_nanos ELSE 0 END AS uncollected_nanos,
    CASE WHEN entry.first_byte_micros IS NULL THEN 0 ELSE entry.served END AS first_bytes,
    entry.served * min(coalesce(entry.first_byte_micros, 0), 86400000000) AS first_byte_micros,
    entry.served * min(max(entry.finished_at - entry.admitted_at, 0), 86400000000) AS duration_micros
FROM (
    SELECT 'log' AS source, logged.seq AS place,
        1 AS counts, CASE logged.loss_reason WHEN 'failed_attempt' THEN 0 ELSE 1 END AS served, logged.price_terms_id,
        logged.payer_id, logged.api_key_id, logged.model, logged.ending, logged.prompt_tokens,
        logged.completion_tokens, logged.cached_tokens, logged.cache_write_tokens, logged.audio_tokens,
        logged.reasoning_tokens, logged.image_output_tokens, logged.list_cost, logged.cost_nanos, logged.price_nanos,
        logged.charged_nanos, logged.uncollected_nanos, logged.loss_reason, logged.admitted_at, logged.finished_at,
        logged.first_byte_micros
    FROM request_logs logged
    UNION ALL
    -- A correction takes its loss back, where that was counted, and counts itself.
    SELECT 'later' AS source, correction.transaction_id AS place,
        1 AS counts, 1 AS served, correction.price_terms_id, correction.payer_id, correction.api_key_id,
        correction.model, correction.ending, correction.prompt_tokens, correction.completion_tokens,
        correction.cached_tokens, correction.cache_write_tokens, correction.audio_tokens, correction.reasoning_tokens,
        correction.image_output_tokens, correction.list_cost, correction.cost_nanos, correction.price_nanos,
        correction.charged_nanos, correction.uncollected_nanos, correction.loss_reason, correction.admitted_at,
        correction.finished_at, correction.first_byte_micros
    FROM request_corrections correction
    UNION ALL
    SELECT 'later' AS source, correction.transaction_id AS place,
        -1 AS counts, -1 AS served, logged.price_terms_id, logged.payer_id, logged.api_key_id, logged.model,
        logged.ending, logged.prompt_tokens, logged.completion_tokens, logged.cached_tokens,
        logged.cache_write_tokens, logged.audio_tokens, logged.reasoning_tokens, logged.image_output_tokens,
        logged.list_cost, logged.cost_nanos, logged.price_nanos, logged.charged_nanos, logged.uncollected_nanos,
        logged.loss_reason, logged.admitted_at, logged.finished_at, logged.first_byte_micros
    FROM request_corrections correction JOIN request_logs logged ON logged.id = correction.id
    UNION ALL
    -- A refund is taken from what its request came to, where that was counted.
    SELECT 'later' AS source, refund.transaction_id AS place,
        1 AS counts, 0 AS served, coalesce(corrected.price_terms_id, logged.price_terms_id), logged.payer_id,
        logged.api_key_id, iif(corrected.id IS NULL, logged.model, corrected.model),
        coalesce(corrected.ending, logged.ending), 0, 0, 0, 0, 0, 0, 0, '0', 0, -refund.amount_nanos,
        -refund.amount_nanos, 0, NULL, logged.admitted_at, coalesce(corrected.finished_at, logged.finished_at), NULL
    FROM request_refunds refund JOIN request_logs logged ON logged.id = refund.request_id
    LEFT JOIN request_corrections corrected ON corrected.id = refund.request_id
) AS entry
JOIN price_terms ON price_terms.id = entry.price_terms_id;

-- What clients used, and what the operator had of it. The model is what the client was told.
CREATE TABLE usage_by_key (
    -- In seconds: a quarter of an hour, three hours, a day in UTC.
    grain INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    payer_id BLOB NOT NULL,
    api_key_id BLOB NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    audio_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL,
    list_cost_nanos INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    price_nanos INTEGER NOT NULL,
    charged_nanos INTEGER NOT NULL,
    crash_nanos INTEGER NOT NULL,
    uncollected_nanos INTEGER NOT NULL,
    failed_attempt_nanos INTEGER NOT NULL,
    unknown_nanos INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    first_byte_micros INTEGER NOT NULL,
    duration_micros INTEGER NOT NULL,
    PRIMARY KEY (payer_id, grain, bucket, api_key_id, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_key_by_bucket ON usage_by_key (grain, bucket);

-- What the operator sold. The model is what the upstream calls it.
CREATE TABLE usage_by_model (
    grain INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    model TEXT NOT NULL,
    master_account_id BLOB NOT NULL,
    requests INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    audio_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL,
    list_cost_nanos INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    price_nanos INTEGER NOT NULL,
    charged_nanos INTEGER NOT NULL,
    crash_nanos INTEGER NOT NULL,
    uncollected_nanos INTEGER NOT NULL,
    failed_attempt_nanos INTEGER NOT NULL,
    unknown_nanos INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    first_byte_micros INTEGER NOT NULL,
    duration_micros INTEGER NOT NULL,
    PRIMARY KEY (grain, bucket, model, master_account_id)
) STRICT, WITHOUT ROWID;

-- The same whatever the model.
CREATE TABLE usage_in_all (
    grain INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    audio_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL,
    list_cost_nanos INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    price_nanos INTEGER NOT NULL,
    charged_nanos INTEGER NOT NULL,
    crash_nanos INTEGER NOT NULL,
    uncollected_nanos INTEGER NOT NULL,
    failed_attempt_nanos INTEGER NOT NULL,
    unknown_nanos INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    first_byte_micros INTEGER NOT NULL,
    duration_micros INTEGER NOT NULL,
    PRIMARY KEY (grain, bucket)
) STRICT, WITHOUT ROWID;

-- Each account: days in UTC, and sixteen of them.
CREATE TABLE usage_by_payer (
    grain INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    payer_id BLOB NOT NULL,
    requests INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    audio_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL,
    list_cost_nanos INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    price_nanos INTEGER NOT NULL,
    charged_nanos INTEGER NOT NULL,
    crash_nanos INTEGER NOT NULL,
    uncollected_nanos INTEGER NOT NULL,
    failed_attempt_nanos INTEGER NOT NULL,
    unknown_nanos INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    first_byte_micros INTEGER NOT NULL,
    duration_micros INTEGER NOT NULL,
    PRIMARY KEY (grain, bucket, payer_id)
) STRICT, WITHOUT ROWID;

-- What one step adds, by all that sums are kept by: each request is looked at once. Empty but in the midst of a step.
CREATE TABLE usage_step (
    payer_id BLOB NOT NULL,
    api_key_id BLOB NOT NULL,
    shown_model TEXT NOT NULL,
    model TEXT NOT NULL,
    master_account_id BLOB NOT NULL,
    quarter INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    audio_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    image_output_tokens INTEGER NOT NULL,
    list_cost_nanos INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    price_nanos INTEGER NOT NULL,
    charged_nanos INTEGER NOT NULL,
    crash_nanos INTEGER NOT NULL,
    uncollected_nanos INTEGER NOT NULL,
    failed_attempt_nanos INTEGER NOT NULL,
    unknown_nanos INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    first_byte_micros INTEGER NOT NULL,
    duration_micros INTEGER NOT NULL
) STRICT;

CREATE TABLE usage_rollup_state (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    -- All rows of request_logs up to this one are in the sums.
    logs_through INTEGER NOT NULL,
    -- All corrections and refunds up to this transaction are.
    later_through INTEGER NOT NULL
) STRICT;
INSERT INTO usage_rollup_state VALUES (1, 0, 0);
