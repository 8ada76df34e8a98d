INSERT INTO usage_step (
    payer_id, api_key_id, shown_model, model, master_account_id, quarter,
    requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
    cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos,
    price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos, unknown_nanos,
    first_bytes, first_byte_micros, duration_micros
)
SELECT payer_id, api_key_id, shown_model, model, master_account_id,
    finished_at - (finished_at % 900000000 + 900000000) % 900000000 AS quarter,
    sum(requests), sum(failed_attempts), sum(errors), sum(cancelled), sum(prompt_tokens),
    sum(completion_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(audio_tokens),
    sum(reasoning_tokens), sum(image_output_tokens), sum(list_cost_nanos), sum(cost_nanos), sum(price_nanos),
    sum(charged_nanos), sum(crash_nanos), sum(uncollected_nanos), sum(failed_attempt_nanos), sum(unknown_nanos),
    sum(first_bytes), sum(first_byte_micros), sum(duration_micros)
FROM (
    SELECT * FROM usage_added WHERE source = 'log' AND place > $1 AND place <= $2
    UNION ALL
    SELECT * FROM usage_added WHERE source = 'later' AND place > $3 AND place <= $4
)
GROUP BY 1, 2, 3, 4, 5, 6
