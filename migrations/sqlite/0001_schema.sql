-- Ids are UUIDs as BLOB(16), times are microseconds since 1970 in UTC, amounts are nano-dollars (1e-9 USD), and exact
-- decimals (prices, discounts, reported costs) are TEXT.

-- Plans and tiers -----------------------------------------------------------------------------------------------------

CREATE TABLE plans (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Immutable; the version with the highest id is in force.
CREATE TABLE plan_versions (
    id INTEGER PRIMARY KEY,
    plan_id INTEGER NOT NULL REFERENCES plans (id),
    rule TEXT NOT NULL CHECK (json_valid(rule)),
    overrides TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(overrides)),
    policy TEXT NOT NULL CHECK (json_valid(policy)),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX plan_versions_by_plan ON plan_versions (plan_id, id);

INSERT INTO plans (id, name) VALUES (1, 'default');
INSERT INTO plan_versions (id, plan_id, rule, policy, created_at) VALUES (
    1, 1,
    '{"rule":"percent_of_list","factor":"0.8"}',
    '{"cost_raising_cap":500000000,"media_cap":50000000,"max_price_tolerance":"1.25"}',
    0
);

CREATE TABLE tiers (
    name TEXT PRIMARY KEY,
    -- NULL is unlimited.
    monthly_limit_nanos INTEGER CHECK (monthly_limit_nanos >= 0)
) STRICT;
INSERT INTO tiers (name, monthly_limit_nanos) VALUES
    ('free', 10000000000),
    ('standard', 50000000000),
    ('micro', 100000000000),
    ('operator', 250000000000),
    ('enterprise', 500000000000),
    ('beta', 1000000000000),
    ('admin', NULL),
    ('future4200', NULL);

-- Accounts, logins and keys -------------------------------------------------------------------------------------------

-- Who pays: an organization or a person.
CREATE TABLE accounts (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    kind TEXT NOT NULL CHECK (kind IN ('organization', 'person')),
    name TEXT NOT NULL,
    parent_id BLOB REFERENCES accounts (id),
    mode TEXT NOT NULL CHECK (mode IN ('prepaid', 'metered')),
    tier TEXT REFERENCES tiers (name),
    plan_id INTEGER NOT NULL DEFAULT 1 REFERENCES plans (id),
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    requests_per_minute INTEGER CHECK (requests_per_minute BETWEEN 1 AND 4294967295),
    tokens_per_minute INTEGER CHECK (tokens_per_minute > 0),
    concurrent_requests INTEGER CHECK (concurrent_requests BETWEEN 1 AND 4294967295),
    created_at INTEGER NOT NULL,
    UNIQUE (id, kind)
) STRICT;

CREATE TABLE organizations (
    account_id BLOB PRIMARY KEY,
    kind TEXT NOT NULL DEFAULT 'organization' CHECK (kind = 'organization'),
    FOREIGN KEY (account_id, kind) REFERENCES accounts (id, kind)
) STRICT;

CREATE TABLE users (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    email TEXT NOT NULL UNIQUE COLLATE NOCASE,
    email_verified INTEGER NOT NULL DEFAULT 0 CHECK (email_verified IN (0, 1)),
    name TEXT NOT NULL,
    image TEXT,
    password_hash TEXT,
    role TEXT NOT NULL CHECK (role IN ('client', 'admin')),
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    locale TEXT,
    utm_source TEXT,
    signup_address TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE persons (
    account_id BLOB PRIMARY KEY,
    kind TEXT NOT NULL DEFAULT 'person' CHECK (kind = 'person'),
    user_id BLOB NOT NULL UNIQUE REFERENCES users (id),
    FOREIGN KEY (account_id, kind) REFERENCES accounts (id, kind)
) STRICT;

CREATE TABLE memberships (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    organization_id BLOB NOT NULL REFERENCES organizations (account_id),
    person_id BLOB NOT NULL REFERENCES persons (account_id),
    role TEXT NOT NULL CHECK (role IN ('owner', 'member')),
    created_at INTEGER NOT NULL,
    UNIQUE (organization_id, person_id)
) STRICT;

CREATE TABLE api_keys (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    -- SHA-256 of the key's text; the key itself is not stored.
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    preview TEXT NOT NULL,
    name TEXT NOT NULL,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    payer_id BLOB NOT NULL REFERENCES accounts (id),
    requests_per_minute INTEGER CHECK (requests_per_minute BETWEEN 1 AND 4294967295),
    tokens_per_minute INTEGER CHECK (tokens_per_minute > 0),
    concurrent_requests INTEGER CHECK (concurrent_requests BETWEEN 1 AND 4294967295),
    -- A JSON array of model ids; NULL is every model.
    allowed_models TEXT CHECK (json_type(allowed_models) = 'array'),
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX api_keys_by_account ON api_keys (account_id);

-- Budgets and leases --------------------------------------------------------------------------------------------------

-- One row an account, metered ones too. What is free is balance + credit line - reserved.
CREATE TABLE balances (
    account_id BLOB PRIMARY KEY REFERENCES accounts (id),
    balance_nanos INTEGER NOT NULL DEFAULT 0,
    reserved_nanos INTEGER NOT NULL DEFAULT 0 CHECK (reserved_nanos >= 0),
    credit_line_nanos INTEGER NOT NULL DEFAULT 0 CHECK (credit_line_nanos >= 0),
    lifetime_spent_nanos INTEGER NOT NULL DEFAULT 0 CHECK (lifetime_spent_nanos >= 0),
    lifetime_earned_nanos INTEGER NOT NULL DEFAULT 0 CHECK (lifetime_earned_nanos >= 0),
    CONSTRAINT balance_covers_reservations CHECK (balance_nanos + credit_line_nanos - reserved_nanos >= 0)
) STRICT;

-- Caps. The owner is an api_keys id (key), a memberships id (member) or an accounts id (tier, account).
CREATE TABLE budgets (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    owner_kind TEXT NOT NULL CHECK (owner_kind IN ('key', 'member', 'tier', 'account')),
    owner_id BLOB NOT NULL,
    quantity TEXT NOT NULL CHECK (quantity IN ('nanos', 'requests')),
    period TEXT NOT NULL CHECK (period IN ('none', 'day', 'week', 'month')),
    -- NULL: not limited (any more).
    cap INTEGER CHECK (cap >= 0),
    UNIQUE (owner_id, owner_kind, quantity, period)
) STRICT;

-- One row a period, so that starting anew forgets nothing.
CREATE TABLE budget_periods (
    budget_id BLOB NOT NULL REFERENCES budgets (id),
    period_start INTEGER NOT NULL,
    spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (budget_id, period_start)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER budget_periods_reserve_within_cap BEFORE UPDATE OF reserved ON budget_periods
WHEN NEW.reserved > OLD.reserved
    AND NEW.reserved + NEW.spent > (SELECT cap FROM budgets WHERE id = NEW.budget_id)
BEGIN SELECT RAISE(ABORT, 'a reservation is beyond the cap'); END;

CREATE TRIGGER budget_periods_start_within_cap BEFORE INSERT ON budget_periods
WHEN NEW.reserved > 0 AND NEW.reserved + NEW.spent > (SELECT cap FROM budgets WHERE id = NEW.budget_id)
BEGIN SELECT RAISE(ABORT, 'a reservation is beyond the cap'); END;

-- Running processes that admit requests; the numbers only grow. All leases of a replica end together.
CREATE TABLE replicas (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;

CREATE TABLE leases (
    replica_id INTEGER NOT NULL REFERENCES replicas (id),
    budget_kind TEXT NOT NULL CHECK (budget_kind IN ('balance', 'cap')),
    -- An accounts id (balance) or a budgets id (cap).
    budget_id BLOB NOT NULL,
    period_start INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (replica_id, budget_id, period_start)
) STRICT, WITHOUT ROWID;

-- The upstream --------------------------------------------------------------------------------------------------------

CREATE TABLE master_accounts (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    name TEXT NOT NULL,
    base_url TEXT NOT NULL,
    sealed_key BLOB NOT NULL,
    -- SHA-256 of the key in hex.
    key_fingerprint TEXT NOT NULL UNIQUE,
    discount TEXT NOT NULL,
    discount_basis TEXT NOT NULL CHECK (discount_basis IN ('credits_bought_below_par', 'in_reported_cost')),
    agreement TEXT,
    agreement_ends_at INTEGER,
    status TEXT NOT NULL CHECK (status IN ('active', 'paused')),
    created_at INTEGER NOT NULL
) STRICT;

-- The price book: every version of every model, in force from in_force_from on while active.
CREATE TABLE model_pricing (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    in_force_from INTEGER NOT NULL,
    is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    pricing TEXT NOT NULL CHECK (json_valid(pricing)),
    context_length INTEGER CHECK (context_length >= 0),
    max_completion_tokens INTEGER CHECK (max_completion_tokens >= 0),
    output_limit TEXT NOT NULL CHECK (output_limit IN ('supported', 'unsupported')),
    listing TEXT NOT NULL CHECK (json_valid(listing))
) STRICT;
CREATE UNIQUE INDEX model_pricing_in_force ON model_pricing (provider, model) WHERE is_active = 1;

-- Usage and the ledger ------------------------------------------------------------------------------------------------

-- Debits are positive, credits negative; the postings of a transaction sum to zero.
CREATE TABLE ledger_accounts (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN (
        'client_balance', 'receivable', 'revenue', 'cost_of_sales', 'upstream_credit', 'loss_crash',
        'loss_uncollected', 'loss_failed_attempt', 'loss_unknown', 'grants'
    )),
    -- An accounts or master_accounts id; empty for the operator's own.
    owner_id BLOB NOT NULL,
    balance_nanos INTEGER NOT NULL,
    UNIQUE (kind, owner_id)
) STRICT;

CREATE TABLE ledger_transactions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('usage', 'adjustment')),
    reason TEXT,
    actor TEXT,
    corrects INTEGER REFERENCES ledger_transactions (id),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE ledger_postings (
    transaction_id INTEGER NOT NULL REFERENCES ledger_transactions (id),
    ledger_account_id INTEGER NOT NULL REFERENCES ledger_accounts (id),
    amount_nanos INTEGER NOT NULL CHECK (amount_nanos <> 0),
    PRIMARY KEY (transaction_id, ledger_account_id)
) STRICT, WITHOUT ROWID;

-- By what requests were priced; many requests share a row. JSON: payment, requested_model, model_pricing,
-- plan_version, rule, master_account, discount.
CREATE TABLE price_terms (
    id INTEGER PRIMARY KEY,
    terms TEXT NOT NULL UNIQUE CHECK (json_valid(terms))
) STRICT;

-- Which budgets, in which periods, requests were charged to; many requests share a row. JSON: an array of budget,
-- period start and quantity.
CREATE TABLE budget_sets (
    id INTEGER PRIMARY KEY,
    slots TEXT NOT NULL UNIQUE CHECK (json_valid(slots))
) STRICT;

-- Usage events: one row a request, never changed.
CREATE TABLE request_logs (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK (length(id) = 16),
    transaction_id INTEGER NOT NULL REFERENCES ledger_transactions (id),
    api_key_id BLOB NOT NULL,
    payer_id BLOB NOT NULL,
    price_terms_id INTEGER NOT NULL REFERENCES price_terms (id),
    budget_set_id INTEGER NOT NULL REFERENCES budget_sets (id),
    generation_id TEXT,
    -- The model and the provider that answered.
    model TEXT,
    provider TEXT,
    delivery TEXT NOT NULL,
    ending TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL CHECK (prompt_tokens >= 0),
    completion_tokens INTEGER NOT NULL CHECK (completion_tokens >= 0),
    cached_tokens INTEGER NOT NULL CHECK (cached_tokens >= 0),
    cache_write_tokens INTEGER NOT NULL CHECK (cache_write_tokens >= 0),
    audio_tokens INTEGER NOT NULL CHECK (audio_tokens >= 0),
    reasoning_tokens INTEGER NOT NULL CHECK (reasoning_tokens >= 0),
    image_output_tokens INTEGER NOT NULL CHECK (image_output_tokens >= 0),
    -- USD, exactly.
    reported_cost TEXT NOT NULL CHECK (reported_cost NOT LIKE '-%'),
    cost_source TEXT NOT NULL,
    -- What the inference cost at the provider, when it was paid there with a key of the account's own.
    upstream_inference_cost TEXT CHECK (upstream_inference_cost NOT LIKE '-%'),
    list_cost TEXT NOT NULL CHECK (list_cost NOT LIKE '-%'),
    cost_nanos INTEGER NOT NULL CHECK (cost_nanos >= 0),
    price_nanos INTEGER NOT NULL CHECK (price_nanos >= 0),
    charged_nanos INTEGER NOT NULL CHECK (charged_nanos >= 0),
    uncollected_nanos INTEGER NOT NULL CHECK (uncollected_nanos >= 0),
    -- What it counts in each budget of requests.
    charged_requests INTEGER NOT NULL CHECK (charged_requests >= 0),
    -- Why the client pays nothing; NULL when it pays.
    loss_reason TEXT,
    hold_nanos INTEGER NOT NULL CHECK (hold_nanos >= 0),
    admitted_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    first_byte_micros INTEGER CHECK (first_byte_micros >= 0),
    CHECK (charged_nanos + uncollected_nanos = price_nanos)
) STRICT;
CREATE UNIQUE INDEX request_logs_id ON request_logs (id);
CREATE INDEX request_logs_by_generation ON request_logs (generation_id) WHERE generation_id IS NOT NULL;
CREATE INDEX request_logs_by_key ON request_logs (api_key_id, finished_at);

-- Requests whose usage is not known yet. JSON: the whole of it.
CREATE TABLE pending_requests (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    reason TEXT NOT NULL CHECK (reason IN ('in_flight', 'usage_unknown', 'failed_attempt')),
    generation_id TEXT,
    since INTEGER NOT NULL,
    details TEXT NOT NULL CHECK (json_valid(details))
) STRICT;
