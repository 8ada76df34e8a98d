INSERT INTO usage_by_key (
    payer_id, grain, bucket, api_key_id, model,
    requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens,
    audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos, price_nanos, charged_nanos,
    crash_nanos, uncollected_nanos, failed_attempt_nanos, unknown_nanos, first_bytes, first_byte_micros,
    duration_micros
)
SELECT payer_id, grain.seconds, quarter - (quarter % grain.micros + grain.micros) % grain.micros,
    api_key_id, shown_model,
    sum(requests), sum(failed_attempts), sum(errors), sum(cancelled), sum(prompt_tokens), sum(completion_tokens),
    sum(cached_tokens), sum(cache_write_tokens), sum(audio_tokens), sum(reasoning_tokens), sum(image_output_tokens),
    sum(list_cost_nanos), sum(cost_nanos), sum(price_nanos), sum(charged_nanos), sum(crash_nanos),
    sum(uncollected_nanos), sum(failed_attempt_nanos), sum(unknown_nanos), sum(first_bytes), sum(first_byte_micros),
    sum(duration_micros)
FROM usage_step CROSS JOIN (
    SELECT 900 AS seconds, 900000000 AS micros UNION ALL SELECT 10800, 10800000000 UNION ALL SELECT 86400, 86400000000
) AS grain
WHERE true
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (payer_id, grain, bucket, api_key_id, model) DO UPDATE SET
    requests = usage_by_key.requests + excluded.requests,
    failed_attempts = usage_by_key.failed_attempts + excluded.failed_attempts,
    errors = usage_by_key.errors + excluded.errors, cancelled = usage_by_key.cancelled + excluded.cancelled,
    prompt_tokens = usage_by_key.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = usage_by_key.completion_tokens + excluded.completion_tokens,
    cached_tokens = usage_by_key.cached_tokens + excluded.cached_tokens,
    cache_write_tokens = usage_by_key.cache_write_tokens + excluded.cache_write_tokens,
    audio_tokens = usage_by_key.audio_tokens + excluded.audio_tokens,
    reasoning_tokens = usage_by_key.reasoning_tokens + excluded.reasoning_tokens,
    image_output_tokens = usage_by_key.image_output_tokens + excluded.image_output_tokens,
    list_cost_nanos = usage_by_key.list_cost_nanos + excluded.list_cost_nanos,
    cost_nanos = usage_by_key.cost_nanos + excluded.cost_nanos,
    price_nanos = usage_by_key.price_nanos + excluded.price_nanos,
    charged_nanos = usage_by_key.charged_nanos + excluded.charged_nanos,
    crash_nanos = usage_by_key.crash_nanos + excluded.crash_nanos,
    uncollected_nanos = usage_by_key.uncollected_nanos + excluded.uncollected_nanos,
    failed_attempt_nanos = usage_by_key.failed_attempt_nanos + excluded.failed_attempt_nanos,
    unknown_nanos = usage_by_key.unknown_nanos + excluded.unknown_nanos,
    first_bytes = usage_by_key.first_bytes + excluded.first_bytes,
    first_byte_micros = usage_by_key.first_byte_micros + excluded.first_byte_micros,
    duration_micros = usage_by_key.duration_micros + excluded.duration_micros
