-- By terms first: their texts are read once for all requests that have them.
INSERT INTO usage_step (
    payer_id, api_key_id, shown_model, model, master_account_id, quarter,
    requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens,
    audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos, price_nanos, charged_nanos,
    crash_nanos, uncollected_nanos, failed_attempt_nanos, unknown_nanos, first_bytes, first_byte_micros,
    duration_micros
)
SELECT payer_id, api_key_id,
    substr(coalesce(terms ->> 'shown_model', answered_model, terms ->> 'requested_model', ''), 1, 256) AS shown_model,
    substr(coalesce(answered_model, terms ->> 'requested_model', ''), 1, 256) AS model,
    coalesce(unhex(terms ->> 'master_account', '-'), zeroblob(16)) AS master_account_id,
    quarter,
    requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens,
    audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos, price_nanos, charged_nanos,
    crash_nanos, uncollected_nanos, failed_attempt_nanos, unknown_nanos, first_bytes, first_byte_micros,
    duration_micros
FROM (
    SELECT payer_id, api_key_id, price_terms_id, answered_model,
        finished_at - (finished_at % 900000000 + 900000000) % 900000000 AS quarter,
        sum(requests) AS requests, sum(failed_attempts) AS failed_attempts, sum(errors) AS errors,
        sum(cancelled) AS cancelled, sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
        sum(cached_tokens) AS cached_tokens, sum(cache_write_tokens) AS cache_write_tokens,
        sum(audio_tokens) AS audio_tokens, sum(reasoning_tokens) AS reasoning_tokens,
        sum(image_output_tokens) AS image_output_tokens, sum(list_cost_nanos) AS list_cost_nanos,
        sum(cost_nanos) AS cost_nanos, sum(price_nanos) AS price_nanos, sum(charged_nanos) AS charged_nanos,
        sum(crash_nanos) AS crash_nanos, sum(uncollected_nanos) AS uncollected_nanos,
        sum(failed_attempt_nanos) AS failed_attempt_nanos, sum(unknown_nanos) AS unknown_nanos,
        sum(first_bytes) AS first_bytes, sum(first_byte_micros) AS first_byte_micros,
        sum(duration_micros) AS duration_micros
    FROM (
        SELECT * FROM usage_amounts WHERE source = 'log' AND place > $1 AND place <= $2
        UNION ALL
        SELECT * FROM usage_amounts WHERE source = 'later' AND place > $3 AND place <= $4
    )
    GROUP BY 1, 2, 3, 4, 5
) AS summed
JOIN price_terms ON price_terms.id = summed.price_terms_id
