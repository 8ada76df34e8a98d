-- Requests as they would be after some weeks of business, for the benchmark of reports: 2,000 accounts with three keys
-- each, of which the first makes a tenth of all requests; 20 models, 4 master accounts, 90 days that end now. Rows of
-- postings and budgets are left out: reports read none.
--
-- Variables of psql: rows; heavy and typical, accounts that are there; heavy_key, a key of the first.

CREATE TABLE bench_payers (n integer PRIMARY KEY, account uuid NOT NULL);
INSERT INTO bench_payers VALUES (0, :'heavy'), (1, :'typical');
INSERT INTO bench_payers SELECT n, gen_random_uuid() FROM generate_series(2, 1999) AS n;
INSERT INTO accounts (id, kind, name, mode, created_at)
SELECT account, 'person', 'Client ' || n, 'prepaid', now() - interval '91 days' FROM bench_payers WHERE n > 1;
INSERT INTO balances (account_id) SELECT account FROM bench_payers WHERE n > 1;

CREATE TABLE bench_keys (n integer, k integer, id uuid NOT NULL, PRIMARY KEY (n, k));
INSERT INTO bench_keys SELECT n, k, CASE WHEN n = 0 AND k = 0 THEN :'heavy_key' ELSE gen_random_uuid() END
FROM bench_payers, generate_series(0, 2) AS k;
INSERT INTO api_keys (id, hash, preview, name, account_id, payer_id, created_at)
SELECT keys.id, sha256(keys.id::text::bytea), 'sk-air-…', 'key ' || k, account, account, now() - interval '91 days'
FROM bench_keys keys JOIN bench_payers USING (n) WHERE NOT (n = 0 AND k = 0);

CREATE TABLE bench_terms (model integer, master integer, id bigint NOT NULL, PRIMARY KEY (model, master));
INSERT INTO master_accounts (id, name, base_url, sealed_key, key_fingerprint, discount, discount_basis, status, created_at)
SELECT md5('master ' || n)::uuid, 'master ' || n, 'http://127.0.0.1:9', '', 'bench ' || n, 0.7,
    'credits_bought_below_par', 'paused', now()
FROM generate_series(0, 3) AS n;
WITH terms AS (
    INSERT INTO price_terms (terms)
    SELECT json_build_object(
        'payment', 'prepaid', 'requested_model', 'bench/model-' || model, 'model_pricing', 1, 'plan_version', 1,
        'rule', json_build_object('rule', 'percent_of_list', 'factor', '0.8'),
        'master_account', md5('master ' || master)::uuid,
        'discount', json_build_object('fraction', '0.7', 'basis', 'credits_bought_below_par')
    )::text
    FROM generate_series(0, 19) AS model, generate_series(0, 3) AS master
    RETURNING id, terms::json ->> 'requested_model' AS model, terms::json ->> 'master_account' AS master
)
INSERT INTO bench_terms
SELECT substr(terms.model, 13)::integer, n, terms.id
FROM terms JOIN generate_series(0, 3) AS n ON terms.master = md5('master ' || n)::uuid::text;
INSERT INTO budget_sets (slots) VALUES ('[]');

SELECT coalesce(max(id), 0) AS first_transaction FROM ledger_transactions \gset
INSERT INTO request_logs (
    id, transaction_id, api_key_id, payer_id, price_terms_id, budget_set_id, generation_id, model, provider, delivery,
    ending, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens, reasoning_tokens,
    image_output_tokens, reported_cost, cost_source, list_cost, cost_nanos, price_nanos, charged_nanos,
    uncollected_nanos, charged_requests, loss_reason, hold_nanos, admitted_at, finished_at, first_byte_micros
)
SELECT
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(digest, 1, 3) || '8'
        || substr(digest, 4, 15))::uuid,
    :first_transaction + 1 + request.n / 64, keys.id, payers.account, terms.id, (SELECT min(id) FROM budget_sets),
    'gen-' || digest, 'bench/model-' || terms.model, 'Bench', 'streamed',
    CASE WHEN dice % 50 = 0 THEN 'client_gone' WHEN dice % 100 = 1 THEN 'upstream_failed' ELSE 'complete' END,
    dice % 3000, dice % 700, dice % 100, 0, 0, 0, 0,
    (dice % 100000) * 0.0000001, 'reported', (dice % 100000) * 0.0000001, (dice % 100000) * 30,
    (dice % 100000) * 80, (dice % 100000) * 80, 0, 1, NULL, 10000000, at - interval '1 millisecond' * (dice % 5000),
    at, dice % 900000
FROM (
    SELECT n, md5(n::text) AS digest, abs(hashint8(n))::bigint AS dice,
        now() - interval '90 days' * (1 - (n + 1)::double precision / :rows) AS at
    FROM generate_series(0, :rows - 1) AS n
) AS request
JOIN bench_payers payers ON payers.n = CASE WHEN dice % 10 = 0 THEN 0 ELSE dice / 10 % 1999 + 1 END
JOIN bench_keys keys ON keys.n = payers.n AND keys.k = dice / 7 % 3
JOIN bench_terms terms ON terms.model = dice / 11 % 20 AND terms.master = dice / 13 % 4
ORDER BY request.n;

-- Last of all: what is up to the last of these counts as complete.
INSERT INTO ledger_transactions (id, kind, created_at)
SELECT :first_transaction + 1 + n, 'usage', now() - interval '90 days' * (1 - n * 64.0 / :rows)
FROM generate_series(0, (:rows - 1) / 64) AS n;
SELECT setval(pg_get_serial_sequence('ledger_transactions', 'id'), max(id)) AS ignored FROM ledger_transactions \gset
