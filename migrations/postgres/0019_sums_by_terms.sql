-- Reading the terms of every request for their models costs more than summing all the rest up. So the requests of one
-- step are summed up by their terms first.

-- What each entry adds to the sums, in the quarter of an hour in which its request was finished. What could make a sum
-- overflow is held at more than a request ever has: a million million tokens, a million dollars of list cost, a day.
-- An attempt that failed is a cost and no request that was served: its tokens are nobody's.
CREATE VIEW usage_amounts AS
SELECT entry.transaction_id, entry.payer_id, entry.api_key_id, entry.finished_at,
    entry.price_terms_id, entry.model AS answered_model,
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
) AS entry;

-- The same with what it is summed by. The model is what the client was told, and what the upstream calls it.
CREATE OR REPLACE VIEW usage_added AS
SELECT transaction_id, payer_id, api_key_id, finished_at,
    left(coalesce(terms.shown_model, answered_model, terms.requested_model, ''), 256) AS shown_model,
    left(coalesce(answered_model, terms.requested_model, ''), 256) AS model,
    coalesce(terms.master_account, '00000000-0000-0000-0000-000000000000'::uuid) AS master_account_id,
    requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens,
    audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos, price_nanos, charged_nanos,
    crash_nanos, failed_attempt_nanos, unknown_nanos, uncollected_nanos, first_bytes, first_byte_micros,
    duration_micros
FROM usage_amounts
JOIN price_terms ON price_terms.id = usage_amounts.price_terms_id
CROSS JOIN LATERAL json_to_record(price_terms.terms::json)
    AS terms (shown_model text, requested_model text, master_account uuid);

-- All that a key has ever spent is the sum of its days. Whoever sums requests up waits meanwhile, nobody else.
CREATE INDEX usage_by_key_days_by_key ON usage_by_key_days (api_key_id, bucket);
