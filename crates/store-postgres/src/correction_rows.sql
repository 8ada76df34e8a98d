WITH transaction AS (
    INSERT INTO ledger_transactions (kind, corrects, created_at) VALUES ('usage', $32, $1) RETURNING id
),
events AS (
    INSERT INTO request_corrections (
        transaction_id, id, api_key_id, payer_id, price_terms_id, budget_set_id, generation_id, model, provider, delivery,
        ending, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens, reasoning_tokens,
        image_output_tokens, reported_cost, cost_source, upstream_inference_cost, list_cost, cost_nanos, price_nanos,
        charged_nanos, uncollected_nanos, charged_requests, loss_reason, hold_nanos, admitted_at, finished_at,
        first_byte_micros
    )
    SELECT
        transaction.id, event.id, api_key_id, payer_id, price_terms_id, budget_set_id, generation_id, model, provider,
        delivery, ending, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens,
        reasoning_tokens, image_output_tokens, reported_cost::numeric, cost_source, upstream_inference_cost::numeric,
        list_cost::numeric, cost_nanos, charged_nanos + uncollected_nanos, charged_nanos, uncollected_nanos,
        charged_requests, loss_reason, hold_nanos, admitted_at, finished_at, first_byte_micros
    FROM transaction, unnest(
        $2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[],
        $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[],
        $18::bigint[], $19::text[], $20::text[], $21::text[], $22::text[], $23::bigint[], $24::bigint[], $25::bigint[],
        $26::bigint[], $27::text[], $28::bigint[], $29::timestamptz[], $30::timestamptz[], $31::bigint[]
    ) AS event (
        id, api_key_id, payer_id, price_terms_id, budget_set_id, generation_id, model, provider, delivery, ending,
        prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens, reasoning_tokens,
        image_output_tokens, reported_cost, cost_source, upstream_inference_cost, list_cost, cost_nanos, charged_nanos,
        uncollected_nanos, charged_requests, loss_reason, hold_nanos, admitted_at, finished_at, first_byte_micros
    )
)
SELECT id AS "id!" FROM transaction
