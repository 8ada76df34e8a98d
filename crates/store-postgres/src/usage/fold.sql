-- By terms first: their texts are read once for all requests that have them.
WITH added AS MATERIALIZED (
    SELECT payer_id, api_key_id,
        left(coalesce(terms.shown_model, answered_model, terms.requested_model, ''), 256) AS shown_model,
        left(coalesce(answered_model, terms.requested_model, ''), 256) AS model,
        coalesce(terms.master_account, '00000000-0000-0000-0000-000000000000'::uuid) AS master_account_id,
        quarter,
        requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos, cost_nanos,
        price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos, unknown_nanos, first_bytes,
        first_byte_micros, duration_micros
    FROM (
        SELECT payer_id, api_key_id, price_terms_id, answered_model,
            date_bin('15 minutes', finished_at, TIMESTAMPTZ '1970-01-01 00:00:00+00') AS quarter,
            usage_sum(requests) AS requests, usage_sum(failed_attempts) AS failed_attempts,
            usage_sum(errors) AS errors, usage_sum(cancelled) AS cancelled, usage_sum(prompt_tokens) AS prompt_tokens,
            usage_sum(completion_tokens) AS completion_tokens, usage_sum(cached_tokens) AS cached_tokens,
            usage_sum(cache_write_tokens) AS cache_write_tokens, usage_sum(audio_tokens) AS audio_tokens,
            usage_sum(reasoning_tokens) AS reasoning_tokens, usage_sum(image_output_tokens) AS image_output_tokens,
            usage_sum(list_cost_nanos) AS list_cost_nanos, usage_sum(cost_nanos) AS cost_nanos,
            usage_sum(price_nanos) AS price_nanos, usage_sum(charged_nanos) AS charged_nanos,
            usage_sum(crash_nanos) AS crash_nanos, usage_sum(uncollected_nanos) AS uncollected_nanos,
            usage_sum(failed_attempt_nanos) AS failed_attempt_nanos, usage_sum(unknown_nanos) AS unknown_nanos,
            usage_sum(first_bytes) AS first_bytes, usage_sum(first_byte_micros) AS first_byte_micros,
            usage_sum(duration_micros) AS duration_micros
        FROM usage_amounts WHERE transaction_id > $1 AND transaction_id <= $2
        GROUP BY 1, 2, 3, 4, 5
    ) AS summed
    JOIN price_terms ON price_terms.id = summed.price_terms_id
    CROSS JOIN LATERAL json_to_record(price_terms.terms::json)
        AS terms (shown_model text, requested_model text, master_account uuid)
),
by_key AS (
    INSERT INTO usage_by_key (
        grain, bucket, payer_id, api_key_id,
        requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos,
        cost_nanos, price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos,
        unknown_nanos, first_bytes, first_byte_micros, duration_micros
    )
    SELECT grain.seconds, date_bin(make_interval(secs => grain.seconds), quarter, TIMESTAMPTZ '1970-01-01 00:00:00+00'),
        payer_id, api_key_id,
        usage_sum(requests), usage_sum(failed_attempts), usage_sum(errors), usage_sum(cancelled), usage_sum(prompt_tokens),
        usage_sum(completion_tokens), usage_sum(cached_tokens), usage_sum(cache_write_tokens), usage_sum(audio_tokens),
        usage_sum(reasoning_tokens), usage_sum(image_output_tokens), usage_sum(list_cost_nanos), usage_sum(cost_nanos),
        usage_sum(price_nanos), usage_sum(charged_nanos), usage_sum(crash_nanos), usage_sum(uncollected_nanos),
        usage_sum(failed_attempt_nanos), usage_sum(unknown_nanos), usage_sum(first_bytes), usage_sum(first_byte_micros),
        usage_sum(duration_micros)
    FROM added CROSS JOIN (VALUES (900), (10800), (86400)) AS grain (seconds)
    GROUP BY 1, 2, 3, 4
    ON CONFLICT (grain, bucket, payer_id, api_key_id) DO UPDATE SET
        requests = usage_by_key.requests + excluded.requests,
        failed_attempts = usage_by_key.failed_attempts + excluded.failed_attempts,
        errors = usage_by_key.errors + excluded.errors,
        cancelled = usage_by_key.cancelled + excluded.cancelled,
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
),
by_key_model AS (
    INSERT INTO usage_by_key_model (
        grain, bucket, payer_id, api_key_id, model,
        requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos,
        cost_nanos, price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos,
        unknown_nanos, first_bytes, first_byte_micros, duration_micros
    )
    SELECT grain.seconds, date_bin(make_interval(secs => grain.seconds), quarter, TIMESTAMPTZ '1970-01-01 00:00:00+00'),
        payer_id, api_key_id, shown_model,
        usage_sum(requests), usage_sum(failed_attempts), usage_sum(errors), usage_sum(cancelled), usage_sum(prompt_tokens),
        usage_sum(completion_tokens), usage_sum(cached_tokens), usage_sum(cache_write_tokens), usage_sum(audio_tokens),
        usage_sum(reasoning_tokens), usage_sum(image_output_tokens), usage_sum(list_cost_nanos), usage_sum(cost_nanos),
        usage_sum(price_nanos), usage_sum(charged_nanos), usage_sum(crash_nanos), usage_sum(uncollected_nanos),
        usage_sum(failed_attempt_nanos), usage_sum(unknown_nanos), usage_sum(first_bytes), usage_sum(first_byte_micros),
        usage_sum(duration_micros)
    FROM added CROSS JOIN (VALUES (900), (10800), (86400)) AS grain (seconds)
    GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT (grain, bucket, payer_id, api_key_id, model) DO UPDATE SET
        requests = usage_by_key_model.requests + excluded.requests,
        failed_attempts = usage_by_key_model.failed_attempts + excluded.failed_attempts,
        errors = usage_by_key_model.errors + excluded.errors,
        cancelled = usage_by_key_model.cancelled + excluded.cancelled,
        prompt_tokens = usage_by_key_model.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = usage_by_key_model.completion_tokens + excluded.completion_tokens,
        cached_tokens = usage_by_key_model.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = usage_by_key_model.cache_write_tokens + excluded.cache_write_tokens,
        audio_tokens = usage_by_key_model.audio_tokens + excluded.audio_tokens,
        reasoning_tokens = usage_by_key_model.reasoning_tokens + excluded.reasoning_tokens,
        image_output_tokens = usage_by_key_model.image_output_tokens + excluded.image_output_tokens,
        list_cost_nanos = usage_by_key_model.list_cost_nanos + excluded.list_cost_nanos,
        cost_nanos = usage_by_key_model.cost_nanos + excluded.cost_nanos,
        price_nanos = usage_by_key_model.price_nanos + excluded.price_nanos,
        charged_nanos = usage_by_key_model.charged_nanos + excluded.charged_nanos,
        crash_nanos = usage_by_key_model.crash_nanos + excluded.crash_nanos,
        uncollected_nanos = usage_by_key_model.uncollected_nanos + excluded.uncollected_nanos,
        failed_attempt_nanos = usage_by_key_model.failed_attempt_nanos + excluded.failed_attempt_nanos,
        unknown_nanos = usage_by_key_model.unknown_nanos + excluded.unknown_nanos,
        first_bytes = usage_by_key_model.first_bytes + excluded.first_bytes,
        first_byte_micros = usage_by_key_model.first_byte_micros + excluded.first_byte_micros,
        duration_micros = usage_by_key_model.duration_micros + excluded.duration_micros
),
by_model AS (
    INSERT INTO usage_by_model (
        grain, bucket, model, master_account_id,
        requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos,
        cost_nanos, price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos,
        unknown_nanos, first_bytes, first_byte_micros, duration_micros
    )
    SELECT grain.seconds, date_bin(make_interval(secs => grain.seconds), quarter, TIMESTAMPTZ '1970-01-01 00:00:00+00'),
        model, master_account_id,
        usage_sum(requests), usage_sum(failed_attempts), usage_sum(errors), usage_sum(cancelled), usage_sum(prompt_tokens),
        usage_sum(completion_tokens), usage_sum(cached_tokens), usage_sum(cache_write_tokens), usage_sum(audio_tokens),
        usage_sum(reasoning_tokens), usage_sum(image_output_tokens), usage_sum(list_cost_nanos), usage_sum(cost_nanos),
        usage_sum(price_nanos), usage_sum(charged_nanos), usage_sum(crash_nanos), usage_sum(uncollected_nanos),
        usage_sum(failed_attempt_nanos), usage_sum(unknown_nanos), usage_sum(first_bytes), usage_sum(first_byte_micros),
        usage_sum(duration_micros)
    FROM added CROSS JOIN (VALUES (900), (10800), (86400)) AS grain (seconds)
    GROUP BY 1, 2, 3, 4
    ON CONFLICT (grain, bucket, model, master_account_id) DO UPDATE SET
        requests = usage_by_model.requests + excluded.requests,
        failed_attempts = usage_by_model.failed_attempts + excluded.failed_attempts,
        errors = usage_by_model.errors + excluded.errors,
        cancelled = usage_by_model.cancelled + excluded.cancelled,
        prompt_tokens = usage_by_model.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = usage_by_model.completion_tokens + excluded.completion_tokens,
        cached_tokens = usage_by_model.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = usage_by_model.cache_write_tokens + excluded.cache_write_tokens,
        audio_tokens = usage_by_model.audio_tokens + excluded.audio_tokens,
        reasoning_tokens = usage_by_model.reasoning_tokens + excluded.reasoning_tokens,
        image_output_tokens = usage_by_model.image_output_tokens + excluded.image_output_tokens,
        list_cost_nanos = usage_by_model.list_cost_nanos + excluded.list_cost_nanos,
        cost_nanos = usage_by_model.cost_nanos + excluded.cost_nanos,
        price_nanos = usage_by_model.price_nanos + excluded.price_nanos,
        charged_nanos = usage_by_model.charged_nanos + excluded.charged_nanos,
        crash_nanos = usage_by_model.crash_nanos + excluded.crash_nanos,
        uncollected_nanos = usage_by_model.uncollected_nanos + excluded.uncollected_nanos,
        failed_attempt_nanos = usage_by_model.failed_attempt_nanos + excluded.failed_attempt_nanos,
        unknown_nanos = usage_by_model.unknown_nanos + excluded.unknown_nanos,
        first_bytes = usage_by_model.first_bytes + excluded.first_bytes,
        first_byte_micros = usage_by_model.first_byte_micros + excluded.first_byte_micros,
        duration_micros = usage_by_model.duration_micros + excluded.duration_micros
),
by_payer AS (
    INSERT INTO usage_by_payer (
        grain, bucket, payer_id,
        requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos,
        cost_nanos, price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos,
        unknown_nanos, first_bytes, first_byte_micros, duration_micros
    )
    SELECT grain.seconds, date_bin(make_interval(secs => grain.seconds), quarter, TIMESTAMPTZ '1970-01-01 00:00:00+00'), payer_id,
        usage_sum(requests), usage_sum(failed_attempts), usage_sum(errors), usage_sum(cancelled), usage_sum(prompt_tokens),
        usage_sum(completion_tokens), usage_sum(cached_tokens), usage_sum(cache_write_tokens), usage_sum(audio_tokens),
        usage_sum(reasoning_tokens), usage_sum(image_output_tokens), usage_sum(list_cost_nanos), usage_sum(cost_nanos),
        usage_sum(price_nanos), usage_sum(charged_nanos), usage_sum(crash_nanos), usage_sum(uncollected_nanos),
        usage_sum(failed_attempt_nanos), usage_sum(unknown_nanos), usage_sum(first_bytes), usage_sum(first_byte_micros),
        usage_sum(duration_micros)
    FROM added CROSS JOIN (VALUES (86400), (1382400)) AS grain (seconds)
    GROUP BY 1, 2, 3
    ON CONFLICT (grain, bucket, payer_id) DO UPDATE SET
        requests = usage_by_payer.requests + excluded.requests,
        failed_attempts = usage_by_payer.failed_attempts + excluded.failed_attempts,
        errors = usage_by_payer.errors + excluded.errors,
        cancelled = usage_by_payer.cancelled + excluded.cancelled,
        prompt_tokens = usage_by_payer.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = usage_by_payer.completion_tokens + excluded.completion_tokens,
        cached_tokens = usage_by_payer.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = usage_by_payer.cache_write_tokens + excluded.cache_write_tokens,
        audio_tokens = usage_by_payer.audio_tokens + excluded.audio_tokens,
        reasoning_tokens = usage_by_payer.reasoning_tokens + excluded.reasoning_tokens,
        image_output_tokens = usage_by_payer.image_output_tokens + excluded.image_output_tokens,
        list_cost_nanos = usage_by_payer.list_cost_nanos + excluded.list_cost_nanos,
        cost_nanos = usage_by_payer.cost_nanos + excluded.cost_nanos,
        price_nanos = usage_by_payer.price_nanos + excluded.price_nanos,
        charged_nanos = usage_by_payer.charged_nanos + excluded.charged_nanos,
        crash_nanos = usage_by_payer.crash_nanos + excluded.crash_nanos,
        uncollected_nanos = usage_by_payer.uncollected_nanos + excluded.uncollected_nanos,
        failed_attempt_nanos = usage_by_payer.failed_attempt_nanos + excluded.failed_attempt_nanos,
        unknown_nanos = usage_by_payer.unknown_nanos + excluded.unknown_nanos,
        first_bytes = usage_by_payer.first_bytes + excluded.first_bytes,
        first_byte_micros = usage_by_payer.first_byte_micros + excluded.first_byte_micros,
        duration_micros = usage_by_payer.duration_micros + excluded.duration_micros
),
in_all AS (
    INSERT INTO usage_in_all (
        grain, bucket,
        requests, failed_attempts, errors, cancelled, prompt_tokens, completion_tokens, cached_tokens,
        cache_write_tokens, audio_tokens, reasoning_tokens, image_output_tokens, list_cost_nanos,
        cost_nanos, price_nanos, charged_nanos, crash_nanos, uncollected_nanos, failed_attempt_nanos,
        unknown_nanos, first_bytes, first_byte_micros, duration_micros
    )
    SELECT grain.seconds, date_bin(make_interval(secs => grain.seconds), quarter, TIMESTAMPTZ '1970-01-01 00:00:00+00'),
        usage_sum(requests), usage_sum(failed_attempts), usage_sum(errors), usage_sum(cancelled), usage_sum(prompt_tokens),
        usage_sum(completion_tokens), usage_sum(cached_tokens), usage_sum(cache_write_tokens), usage_sum(audio_tokens),
        usage_sum(reasoning_tokens), usage_sum(image_output_tokens), usage_sum(list_cost_nanos), usage_sum(cost_nanos),
        usage_sum(price_nanos), usage_sum(charged_nanos), usage_sum(crash_nanos), usage_sum(uncollected_nanos),
        usage_sum(failed_attempt_nanos), usage_sum(unknown_nanos), usage_sum(first_bytes), usage_sum(first_byte_micros),
        usage_sum(duration_micros)
    FROM added CROSS JOIN (VALUES (900), (10800), (86400)) AS grain (seconds)
    GROUP BY 1, 2
    ON CONFLICT (grain, bucket) DO UPDATE SET
        requests = usage_in_all.requests + excluded.requests,
        failed_attempts = usage_in_all.failed_attempts + excluded.failed_attempts,
        errors = usage_in_all.errors + excluded.errors,
        cancelled = usage_in_all.cancelled + excluded.cancelled,
        prompt_tokens = usage_in_all.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = usage_in_all.completion_tokens + excluded.completion_tokens,
        cached_tokens = usage_in_all.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = usage_in_all.cache_write_tokens + excluded.cache_write_tokens,
        audio_tokens = usage_in_all.audio_tokens + excluded.audio_tokens,
        reasoning_tokens = usage_in_all.reasoning_tokens + excluded.reasoning_tokens,
        image_output_tokens = usage_in_all.image_output_tokens + excluded.image_output_tokens,
        list_cost_nanos = usage_in_all.list_cost_nanos + excluded.list_cost_nanos,
        cost_nanos = usage_in_all.cost_nanos + excluded.cost_nanos,
        price_nanos = usage_in_all.price_nanos + excluded.price_nanos,
        charged_nanos = usage_in_all.charged_nanos + excluded.charged_nanos,
        crash_nanos = usage_in_all.crash_nanos + excluded.crash_nanos,
        uncollected_nanos = usage_in_all.uncollected_nanos + excluded.uncollected_nanos,
        failed_attempt_nanos = usage_in_all.failed_attempt_nanos + excluded.failed_attempt_nanos,
        unknown_nanos = usage_in_all.unknown_nanos + excluded.unknown_nanos,
        first_bytes = usage_in_all.first_bytes + excluded.first_bytes,
        first_byte_micros = usage_in_all.first_byte_micros + excluded.first_byte_micros,
        duration_micros = usage_in_all.duration_micros + excluded.duration_micros
)
UPDATE usage_rollup_state SET folded_through = $2
