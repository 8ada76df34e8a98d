-- One statement, so that the sums and what is not in them yet are of the same moment.
WITH folded AS MATERIALIZED (
    SELECT folded_through AS through, (SELECT coalesce(max(id), 0) FROM ledger_transactions) AS newest
    FROM usage_rollup_state
),
tail AS MATERIALIZED (
    SELECT date_bin('15 minutes', finished_at, TIMESTAMPTZ '1970-01-01 00:00:00+00') AS bucket,
        CASE $11::text WHEN 'model' THEN shown_model WHEN 'key' THEN api_key_id::text
            WHEN 'member' THEN coalesce((SELECT account_id::text FROM api_keys WHERE api_keys.id = api_key_id), '')
            ELSE '' END AS about,
        usage_sum(requests) AS requests, usage_sum(failed_attempts) AS failed_attempts, usage_sum(errors) AS errors,
        usage_sum(cancelled) AS cancelled, usage_sum(prompt_tokens) AS prompt_tokens,
        usage_sum(completion_tokens) AS completion_tokens, usage_sum(cached_tokens) AS cached_tokens,
        usage_sum(cache_write_tokens) AS cache_write_tokens, usage_sum(audio_tokens) AS audio_tokens,
        usage_sum(reasoning_tokens) AS reasoning_tokens, usage_sum(image_output_tokens) AS image_output_tokens,
        usage_sum(list_cost_nanos) AS list_cost_nanos, usage_sum(cost_nanos) AS cost_nanos,
        usage_sum(price_nanos) AS price_nanos, usage_sum(charged_nanos) AS charged_nanos,
        usage_sum(crash_nanos) AS crash_nanos, usage_sum(uncollected_nanos) AS uncollected_nanos,
        usage_sum(failed_attempt_nanos) AS failed_attempt_nanos, usage_sum(unknown_nanos) AS unknown_nanos,
        usage_sum(first_bytes) AS first_bytes, usage_sum(first_byte_micros) AS first_byte_micros,
        usage_sum(duration_micros) AS duration_micros
    FROM usage_added
    WHERE transaction_id BETWEEN (SELECT through + 1 FROM folded) AND (SELECT newest FROM folded)
        AND payer_id = $8
        AND ($9::uuid IS NULL OR api_key_id = $9)
        AND ($14::uuid IS NULL OR api_key_id IN (SELECT id FROM api_keys WHERE account_id = $14))
        AND ($10::text IS NULL OR shown_model = $10)
    GROUP BY 1, 2
),
summed AS (
    SELECT part.period, kept.*
    FROM unnest($1::int[], $2::int[], $3::timestamptz[], $4::timestamptz[]) AS part (period, grain, begins, ends)
    CROSS JOIN LATERAL (
        SELECT
            CASE $11::text WHEN 'model' THEN model WHEN 'key' THEN api_key_id::text
                WHEN 'member' THEN coalesce((SELECT account_id::text FROM api_keys WHERE api_keys.id = api_key_id), '')
                ELSE '' END AS about,
            usage_sum(requests) AS requests, usage_sum(failed_attempts) AS failed_attempts, usage_sum(errors) AS errors,
            usage_sum(cancelled) AS cancelled, usage_sum(prompt_tokens) AS prompt_tokens,
            usage_sum(completion_tokens) AS completion_tokens, usage_sum(cached_tokens) AS cached_tokens,
            usage_sum(cache_write_tokens) AS cache_write_tokens, usage_sum(audio_tokens) AS audio_tokens,
            usage_sum(reasoning_tokens) AS reasoning_tokens, usage_sum(image_output_tokens) AS image_output_tokens,
            usage_sum(list_cost_nanos) AS list_cost_nanos, usage_sum(cost_nanos) AS cost_nanos,
            usage_sum(price_nanos) AS price_nanos, usage_sum(charged_nanos) AS charged_nanos,
            usage_sum(crash_nanos) AS crash_nanos, usage_sum(uncollected_nanos) AS uncollected_nanos,
            usage_sum(failed_attempt_nanos) AS failed_attempt_nanos, usage_sum(unknown_nanos) AS unknown_nanos,
            usage_sum(first_bytes) AS first_bytes, usage_sum(first_byte_micros) AS first_byte_micros,
            usage_sum(duration_micros) AS duration_micros
        FROM usage_by_key_model
        WHERE payer_id = $8 AND grain = part.grain AND bucket >= part.begins AND bucket < part.ends
            AND ($9::uuid IS NULL OR api_key_id = $9)
            AND ($14::uuid IS NULL OR api_key_id IN (SELECT id FROM api_keys WHERE account_id = $14))
            AND ($10::text IS NULL OR model = $10)
        GROUP BY 1
    ) AS kept
    UNION ALL
    SELECT asked.period, about,
        requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos,
        cost_nanos, price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos,
        unknown_nanos, first_bytes, first_byte_micros, duration_micros
    FROM unnest($5::int[], $6::timestamptz[], $7::timestamptz[]) AS asked (period, begins, ends)
    JOIN tail ON tail.bucket >= asked.begins AND tail.bucket < asked.ends
)
SELECT period::bigint AS "period!", about AS "about!",
    CASE $11::text WHEN 'key' THEN
        (SELECT api_keys.name FROM api_keys WHERE api_keys.id = nullif(about, '')::uuid)
        WHEN 'member' THEN
        (SELECT accounts.name FROM accounts WHERE accounts.id = nullif(about, '')::uuid) END AS "name?",
    usage_sum(requests) AS "requests!", usage_sum(failed_attempts) AS "failed_attempts!",
    usage_sum(errors) AS "errors!", usage_sum(cancelled) AS "cancelled!",
    usage_sum(prompt_tokens) AS "prompt_tokens!",
    usage_sum(completion_tokens) AS "completion_tokens!",
    usage_sum(cached_tokens) AS "cached_tokens!",
    usage_sum(cache_write_tokens) AS "cache_write_tokens!",
    usage_sum(audio_tokens) AS "audio_tokens!", usage_sum(reasoning_tokens) AS "reasoning_tokens!",
    usage_sum(image_output_tokens) AS "image_output_tokens!",
    usage_sum(list_cost_nanos) AS "list_cost_nanos!", usage_sum(cost_nanos) AS "cost_nanos!",
    usage_sum(price_nanos) AS "price_nanos!", usage_sum(charged_nanos) AS "charged_nanos!",
    usage_sum(crash_nanos) AS "crash_nanos!", usage_sum(uncollected_nanos) AS "uncollected_nanos!",
    usage_sum(failed_attempt_nanos) AS "failed_attempt_nanos!",
    usage_sum(unknown_nanos) AS "unknown_nanos!", usage_sum(first_bytes) AS "first_bytes!",
    usage_sum(first_byte_micros) AS "first_byte_micros!",
    usage_sum(duration_micros) AS "duration_micros!"
FROM summed
GROUP BY period, about
HAVING $11::text = '' OR usage_sum(requests) <> 0 OR usage_sum(charged_nanos) <> 0
ORDER BY period, usage_sum(charged_nanos) DESC, usage_sum(cost_nanos) DESC, about
LIMIT $12 OFFSET $13
