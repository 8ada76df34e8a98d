-- One statement, so that the sums and what is not in them yet are of the same moment.
WITH parts AS (
    SELECT value ->> 0 AS period, value ->> 1 AS grain, value ->> 2 AS begins, value ->> 3 AS ends FROM json_each($1)
),
asked AS (
    SELECT value ->> 0 AS period, value ->> 1 AS begins, value ->> 2 AS ends FROM json_each($2)
),
tail AS MATERIALIZED (
    SELECT bucket, about,
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
        SELECT finished_at - (finished_at % 900000000 + 900000000) % 900000000 AS bucket,
            CASE $6 WHEN 'model' THEN shown_model WHEN 'key' THEN lower(hex(api_key_id))
                WHEN 'member' THEN
                coalesce((SELECT lower(hex(account_id)) FROM api_keys WHERE api_keys.id = api_key_id), '')
                ELSE '' END AS about,
            requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
            cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos,
            price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos, unknown_nanos,
            first_bytes, first_byte_micros, duration_micros
        FROM usage_added
        WHERE source = 'log' AND place > (SELECT logs_through FROM usage_rollup_state)
            AND payer_id = $3
            AND ($4 IS NULL OR api_key_id = $4)
            AND ($9 IS NULL OR api_key_id IN (SELECT id FROM api_keys WHERE account_id = $9))
            AND ($5 IS NULL OR shown_model = $5)
        UNION ALL
        SELECT finished_at - (finished_at % 900000000 + 900000000) % 900000000 AS bucket,
            CASE $6 WHEN 'model' THEN shown_model WHEN 'key' THEN lower(hex(api_key_id))
                WHEN 'member' THEN
                coalesce((SELECT lower(hex(account_id)) FROM api_keys WHERE api_keys.id = api_key_id), '')
                ELSE '' END AS about,
            requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
            cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos,
            price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos, unknown_nanos,
            first_bytes, first_byte_micros, duration_micros
        FROM usage_added
        WHERE source = 'later' AND place > (SELECT later_through FROM usage_rollup_state)
            AND payer_id = $3
            AND ($4 IS NULL OR api_key_id = $4)
            AND ($9 IS NULL OR api_key_id IN (SELECT id FROM api_keys WHERE account_id = $9))
            AND ($5 IS NULL OR shown_model = $5)
    )
    GROUP BY 1, 2
),
summed AS (
    SELECT part.period,
        CASE $6 WHEN 'model' THEN kept.model WHEN 'key' THEN lower(hex(kept.api_key_id))
            WHEN 'member' THEN
            coalesce((SELECT lower(hex(account_id)) FROM api_keys WHERE api_keys.id = kept.api_key_id), '')
            ELSE '' END AS about,
        sum(kept.requests) AS requests, sum(kept.failed_attempts) AS failed_attempts, sum(kept.errors) AS errors,
        sum(kept.cancelled) AS cancelled, sum(kept.prompt_tokens) AS prompt_tokens,
        sum(kept.completion_tokens) AS completion_tokens, sum(kept.cached_tokens) AS cached_tokens,
        sum(kept.cache_write_tokens) AS cache_write_tokens, sum(kept.audio_tokens) AS audio_tokens,
        sum(kept.reasoning_tokens) AS reasoning_tokens, sum(kept.image_output_tokens) AS image_output_tokens,
        sum(kept.list_cost_nanos) AS list_cost_nanos, sum(kept.cost_nanos) AS cost_nanos,
        sum(kept.price_nanos) AS price_nanos, sum(kept.charged_nanos) AS charged_nanos,
        sum(kept.crash_nanos) AS crash_nanos, sum(kept.uncollected_nanos) AS uncollected_nanos,
        sum(kept.failed_attempt_nanos) AS failed_attempt_nanos, sum(kept.unknown_nanos) AS unknown_nanos,
        sum(kept.first_bytes) AS first_bytes, sum(kept.first_byte_micros) AS first_byte_micros,
        sum(kept.duration_micros) AS duration_micros
    FROM parts part CROSS JOIN usage_by_key kept
    WHERE kept.payer_id = $3 AND kept.grain = part.grain AND kept.bucket >= part.begins AND kept.bucket < part.ends
        AND ($4 IS NULL OR kept.api_key_id = $4)
        AND ($9 IS NULL OR kept.api_key_id IN (SELECT id FROM api_keys WHERE account_id = $9))
        AND ($5 IS NULL OR kept.model = $5)
    GROUP BY 1, 2
    UNION ALL
    SELECT asked.period, about,
        requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos,
        price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos, unknown_nanos, first_bytes,
        first_byte_micros, duration_micros
    FROM asked JOIN tail ON tail.bucket >= asked.begins AND tail.bucket < asked.ends
)
SELECT period AS "period!: i64", about AS "about!: String",
    CASE $6 WHEN 'key' THEN
        (SELECT api_keys.name FROM api_keys WHERE api_keys.id = unhex(about))
        WHEN 'member' THEN (SELECT accounts.name FROM accounts WHERE accounts.id = unhex(about)) END AS "name?: String",
    sum(requests) AS "requests!: i64", sum(failed_attempts) AS "failed_attempts!: i64", sum(errors) AS "errors!: i64",
    sum(cancelled) AS "cancelled!: i64", sum(prompt_tokens) AS "prompt_tokens!: i64",
    sum(completion_tokens) AS "completion_tokens!: i64", sum(cached_tokens) AS "cached_tokens!: i64",
    sum(cache_write_tokens) AS "cache_write_tokens!: i64", sum(audio_tokens) AS "audio_tokens!: i64",
    sum(reasoning_tokens) AS "reasoning_tokens!: i64", sum(image_output_tokens) AS "image_output_tokens!: i64",
    sum(list_cost_nanos) AS "list_cost_nanos!: i64", sum(cost_nanos) AS "cost_nanos!: i64",
    sum(price_nanos) AS "price_nanos!: i64", sum(charged_nanos) AS "charged_nanos!: i64",
    sum(crash_nanos) AS "crash_nanos!: i64", sum(uncollected_nanos) AS "uncollected_nanos!: i64",
    sum(failed_attempt_nanos) AS "failed_attempt_nanos!: i64", sum(unknown_nanos) AS "unknown_nanos!: i64",
    sum(first_bytes) AS "first_bytes!: i64", sum(first_byte_micros) AS "first_byte_micros!: i64",
    sum(duration_micros) AS "duration_micros!: i64"
FROM summed
GROUP BY period, about
HAVING sum(requests) <> 0 OR sum(charged_nanos) <> 0 OR ($6 = '' AND sum(failed_attempts) <> 0)
ORDER BY period, sum(charged_nanos) DESC, sum(cost_nanos) DESC, about
LIMIT $7 OFFSET $8
