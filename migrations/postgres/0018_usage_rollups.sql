-- Sums of requests by time, so that reports need not read every request (crates/store/src/rollups.rs). They are made
-- beside the requests, in the background; usage_rollup_state says how far they go.

-- What each entry adds to the sums, in the quarter of an hour in which its request was finished. What could make a sum
-- overflow is held at more than a request ever has: a million million tokens, a million dollars of list cost, a day.
-- An attempt that failed is a cost and no request that was served: its tokens are nobody's.
CREATE VIEW usage_added AS
SELECT entry.transaction_id, entry.payer_id, entry.api_key_id, entry.finished_at,
    left(coalesce(terms.shown_model, entry.model, terms.requested_model, ''), 256) AS shown_model,
    left(coalesce(entry.model, terms.requested_model, ''), 256) AS model,
    coalesce(terms.master_account, '00000000-0000-0000-0000-000000000000'::uuid) AS master_account_id,
    entry.served AS requests,
    CASE entry.loss_reason WHEN 'failed_attempt' THEN entry.counts ELSE 0 END AS failed_attempts,
    CASE WHEN entry.ending IN ('upstream_failed', 'interrupted') THEN entry.served ELSE 0 END AS errors,
    CASE WHEN entry.ending = 'client_gone' THEN entry.served ELSE 0 END AS cancelled,
    entry.served * least(entry.prompt_tokens, 1000000000000) AS prompt_tokens,
    entry.served * least(entry.completion_tokens, 1000000000000) AS completion_tokens,
    entry.served * least(entry.cached_tokens, 1000000000000) AS cached_tokens,
    entry.served * least(entry.cache_write_tokens, 1000000000000) AS cache_write_tokens,
    entry.served * least(entry.audio_tokens, 1000000000000) AS audio_tokens,
    entry.served * least(entry.reasoning_tokens, 1000000000000) AS reasoning_tokens,
    entry.served * least(entry.image_output_tokens, 1000000000000) AS image_output_tokens,
    entry.counts * least(round(entry.list_cost * 1000000000), 1000000000000000)::bigint AS list_cost_nanos,
    CASE WHEN entry.loss_reason IS NULL THEN entry.counts * entry.cost_nanos ELSE 0 END AS cost_nanos,
    entry.counts * entry.price_nanos AS price_nanos,
    entry.counts * entry.charged_nanos AS charged_nanos,
    CASE entry.loss_reason WHEN 'crash' THEN entry.counts * entry.cost_nanos ELSE 0 END AS crash_nanos,
    CASE entry.loss_reason WHEN 'failed_attempt' THEN entry.counts * entry.cost_nanos ELSE 0 END AS failed_attempt_nanos,
    CASE entry.loss_reason WHEN 'unknown' THEN entry.counts * entry.cost_nanos ELSE 0 END AS unknown_nanos,
    entry.counts * entry.uncollected_nanos
        + CASE entry.loss_reason WHEN 'uncollected' THEN entry.counts * entry.cost_nanos ELSE 0 END AS uncollected_nanos,
    CASE WHEN entry.first_byte_micros IS NULL THEN 0 ELSE entry.served END AS first_bytes,
    entry.served * least(coalesce(entry.first_byte_micros, 0), 86400000000) AS first_byte_micros,
    entry.served * least(greatest(
        (extract(epoch FROM entry.finished_at - entry.admitted_at) * 1000000)::bigint, 0), 86400000000
    ) AS duration_micros
FROM (
    SELECT 1 AS counts, CASE logged.loss_reason WHEN 'failed_attempt' THEN 0 ELSE 1 END AS served,
        logged.transaction_id, logged.price_terms_id, logged.payer_id, logged.api_key_id, logged.model,
        logged.ending, logged.prompt_tokens, logged.completion_tokens, logged.cached_tokens,
        logged.cache_write_tokens, logged.audio_tokens, logged.reasoning_tokens,
        logged.image_output_tokens, logged.list_cost, logged.cost_nanos, logged.price_nanos,
        logged.charged_nanos, logged.uncollected_nanos, logged.loss_reason, logged.admitted_at,
        logged.finished_at, logged.first_byte_micros
    FROM request_logs logged
    UNION ALL
    -- A correction takes its loss back, where that was counted, and counts itself.
    SELECT 1 AS counts, 1 AS served, correction.transaction_id, correction.price_terms_id,
        correction.payer_id, correction.api_key_id, correction.model, correction.ending,
        correction.prompt_tokens, correction.completion_tokens, correction.cached_tokens,
        correction.cache_write_tokens, correction.audio_tokens, correction.reasoning_tokens,
        correction.image_output_tokens, correction.list_cost, correction.cost_nanos,
        correction.price_nanos, correction.charged_nanos, correction.uncollected_nanos,
        correction.loss_reason, correction.admitted_at, correction.finished_at,
        correction.first_byte_micros
    FROM request_corrections correction
    UNION ALL
    SELECT -1 AS counts, -1 AS served, correction.transaction_id AS transaction_id, logged.price_terms_id,
        logged.payer_id, logged.api_key_id, logged.model, logged.ending, logged.prompt_tokens,
        logged.completion_tokens, logged.cached_tokens, logged.cache_write_tokens, logged.audio_tokens,
        logged.reasoning_tokens, logged.image_output_tokens, logged.list_cost, logged.cost_nanos,
        logged.price_nanos, logged.charged_nanos, logged.uncollected_nanos, logged.loss_reason,
        logged.admitted_at, logged.finished_at, logged.first_byte_micros
    FROM request_corrections correction JOIN request_logs logged ON logged.id = correction.id
    UNION ALL
    -- A refund is taken from what its request came to, where that was counted.
    SELECT 1 AS counts, 0 AS served, refund.transaction_id, charged.price_terms_id, charged.payer_id,
        charged.api_key_id, charged.model, charged.ending, 0 AS prompt_tokens, 0 AS completion_tokens,
        0 AS cached_tokens, 0 AS cache_write_tokens, 0 AS audio_tokens, 0 AS reasoning_tokens,
        0 AS image_output_tokens, 0 AS list_cost, 0 AS cost_nanos, -refund.amount_nanos AS price_nanos,
        -refund.amount_nanos AS charged_nanos, 0 AS uncollected_nanos, NULL AS loss_reason, charged.admitted_at,
        charged.finished_at, NULL AS first_byte_micros
    FROM request_refunds refund
    CROSS JOIN LATERAL (
        SELECT price_terms_id, payer_id, api_key_id, model, ending, admitted_at, finished_at
        FROM request_corrections WHERE id = refund.request_id
        UNION ALL
        SELECT price_terms_id, payer_id, api_key_id, model, ending, admitted_at, finished_at
        FROM request_logs WHERE id = refund.request_id
        LIMIT 1
    ) AS charged
) AS entry
JOIN price_terms ON price_terms.id = entry.price_terms_id
CROSS JOIN LATERAL json_to_record(price_terms.terms::json)
    AS terms (shown_model text, requested_model text, master_account uuid);

-- As sum, without the detour over numeric: several times as fast. A sum that is too large is an error.
CREATE AGGREGATE usage_sum (bigint) (SFUNC = int8pl, STYPE = bigint, INITCOND = '0');

-- What clients used, and what the operator had of it.
CREATE TABLE usage_by_key (
    -- In seconds: a quarter of an hour, three hours, a day in UTC.
    grain integer NOT NULL,
    bucket timestamptz NOT NULL,
    payer_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    requests bigint NOT NULL,
    failed_attempts bigint NOT NULL,
    errors bigint NOT NULL,
    cancelled bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    audio_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    image_output_tokens bigint NOT NULL,
    list_cost_nanos bigint NOT NULL,
    cost_nanos bigint NOT NULL,
    price_nanos bigint NOT NULL,
    charged_nanos bigint NOT NULL,
    crash_nanos bigint NOT NULL,
    uncollected_nanos bigint NOT NULL,
    failed_attempt_nanos bigint NOT NULL,
    unknown_nanos bigint NOT NULL,
    first_bytes bigint NOT NULL,
    first_byte_micros bigint NOT NULL,
    duration_micros bigint NOT NULL,
    PRIMARY KEY (payer_id, bucket, api_key_id, grain)
) PARTITION BY LIST (grain);
-- For whoever asks about all accounts. It is of another form than the key's column, lest it be taken for one account.
CREATE INDEX usage_by_key_by_time ON usage_by_key ((bucket AT TIME ZONE 'UTC'));

-- The same by model, too: what the client was told.
CREATE TABLE usage_by_key_model (
    grain integer NOT NULL,
    bucket timestamptz NOT NULL,
    payer_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    model text COLLATE "C" NOT NULL,
    requests bigint NOT NULL,
    failed_attempts bigint NOT NULL,
    errors bigint NOT NULL,
    cancelled bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    audio_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    image_output_tokens bigint NOT NULL,
    list_cost_nanos bigint NOT NULL,
    cost_nanos bigint NOT NULL,
    price_nanos bigint NOT NULL,
    charged_nanos bigint NOT NULL,
    crash_nanos bigint NOT NULL,
    uncollected_nanos bigint NOT NULL,
    failed_attempt_nanos bigint NOT NULL,
    unknown_nanos bigint NOT NULL,
    first_bytes bigint NOT NULL,
    first_byte_micros bigint NOT NULL,
    duration_micros bigint NOT NULL,
    PRIMARY KEY (payer_id, bucket, api_key_id, model, grain)
) PARTITION BY LIST (grain);

-- What the operator sold. The model is what the upstream calls it.
CREATE TABLE usage_by_model (
    grain integer NOT NULL,
    bucket timestamptz NOT NULL,
    model text COLLATE "C" NOT NULL,
    master_account_id uuid NOT NULL,
    requests bigint NOT NULL,
    failed_attempts bigint NOT NULL,
    errors bigint NOT NULL,
    cancelled bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    audio_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    image_output_tokens bigint NOT NULL,
    list_cost_nanos bigint NOT NULL,
    cost_nanos bigint NOT NULL,
    price_nanos bigint NOT NULL,
    charged_nanos bigint NOT NULL,
    crash_nanos bigint NOT NULL,
    uncollected_nanos bigint NOT NULL,
    failed_attempt_nanos bigint NOT NULL,
    unknown_nanos bigint NOT NULL,
    first_bytes bigint NOT NULL,
    first_byte_micros bigint NOT NULL,
    duration_micros bigint NOT NULL,
    PRIMARY KEY (bucket, model, master_account_id, grain)
) PARTITION BY LIST (grain);

CREATE TABLE usage_by_key_quarters PARTITION OF usage_by_key FOR VALUES IN (900) WITH (fillfactor = 85);
CREATE TABLE usage_by_key_three_hours PARTITION OF usage_by_key FOR VALUES IN (10800) WITH (fillfactor = 85);
CREATE TABLE usage_by_key_days PARTITION OF usage_by_key FOR VALUES IN (86400) WITH (fillfactor = 85);
CREATE TABLE usage_by_key_model_quarters PARTITION OF usage_by_key_model FOR VALUES IN (900) WITH (fillfactor = 85);
CREATE TABLE usage_by_key_model_three_hours PARTITION OF usage_by_key_model FOR VALUES IN (10800) WITH (fillfactor = 85);
CREATE TABLE usage_by_key_model_days PARTITION OF usage_by_key_model FOR VALUES IN (86400) WITH (fillfactor = 85);
CREATE TABLE usage_by_model_quarters PARTITION OF usage_by_model FOR VALUES IN (900) WITH (fillfactor = 85);
CREATE TABLE usage_by_model_three_hours PARTITION OF usage_by_model FOR VALUES IN (10800) WITH (fillfactor = 85);
CREATE TABLE usage_by_model_days PARTITION OF usage_by_model FOR VALUES IN (86400) WITH (fillfactor = 85);

-- The same whatever the model.
CREATE TABLE usage_in_all (
    grain integer NOT NULL,
    bucket timestamptz NOT NULL,
    requests bigint NOT NULL,
    failed_attempts bigint NOT NULL,
    errors bigint NOT NULL,
    cancelled bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    audio_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    image_output_tokens bigint NOT NULL,
    list_cost_nanos bigint NOT NULL,
    cost_nanos bigint NOT NULL,
    price_nanos bigint NOT NULL,
    charged_nanos bigint NOT NULL,
    crash_nanos bigint NOT NULL,
    uncollected_nanos bigint NOT NULL,
    failed_attempt_nanos bigint NOT NULL,
    unknown_nanos bigint NOT NULL,
    first_bytes bigint NOT NULL,
    first_byte_micros bigint NOT NULL,
    duration_micros bigint NOT NULL,
    PRIMARY KEY (grain, bucket)
) WITH (fillfactor = 85);

-- Each account: days in UTC, and sixteen of them.
CREATE TABLE usage_by_payer (
    grain integer NOT NULL,
    bucket timestamptz NOT NULL,
    payer_id uuid NOT NULL,
    requests bigint NOT NULL,
    failed_attempts bigint NOT NULL,
    errors bigint NOT NULL,
    cancelled bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    audio_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    image_output_tokens bigint NOT NULL,
    list_cost_nanos bigint NOT NULL,
    cost_nanos bigint NOT NULL,
    price_nanos bigint NOT NULL,
    charged_nanos bigint NOT NULL,
    crash_nanos bigint NOT NULL,
    uncollected_nanos bigint NOT NULL,
    failed_attempt_nanos bigint NOT NULL,
    unknown_nanos bigint NOT NULL,
    first_bytes bigint NOT NULL,
    first_byte_micros bigint NOT NULL,
    duration_micros bigint NOT NULL,
    PRIMARY KEY (bucket, payer_id, grain)
) PARTITION BY LIST (grain);
CREATE TABLE usage_by_payer_days PARTITION OF usage_by_payer FOR VALUES IN (86400) WITH (fillfactor = 85);
CREATE TABLE usage_by_payer_sixteen_days PARTITION OF usage_by_payer FOR VALUES IN (1382400) WITH (fillfactor = 85);

-- All transactions up to this one are in the sums.
CREATE TABLE usage_rollup_state (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    folded_through bigint NOT NULL DEFAULT 0
);
INSERT INTO usage_rollup_state DEFAULT VALUES;
