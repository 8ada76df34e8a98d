//! The closed sets of label values: what is counted can only be one of these.

use airouter_openrouter::Fault;

/// Declares an enum whose variants are label values; `ALL` lists them in order, so that `variant as usize` is an index.
macro_rules! label_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every one, in order.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// The label's value.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

label_set! {
    /// Why a request was refused before anything went upstream.
    Refusal {
        /// 400: the body or a header can't be accepted.
        BadRequest = "bad_request",
        /// 401: no key, or not in the form of one.
        KeyMissing = "key_missing",
        /// 401: nobody knows the key.
        KeyUnknown = "key_unknown",
        /// 401: the key was revoked, has expired, or its account is disabled.
        KeyRevoked = "key_revoked",
        /// 403: the key may not be used from this address.
        AddressNotAllowed = "address_not_allowed",
        /// 402: the balance or a limit in money does not cover the request.
        InsufficientFunds = "insufficient_funds",
        /// 403: the key may not use the model.
        ModelNotAllowed = "model_not_allowed",
        /// 403: the plan does not include something that raises the cost.
        NotInPlan = "not_in_plan",
        /// 404: the model is unknown, hidden or not priced.
        ModelNotFound = "model_not_found",
        /// 404 or 405: there is no such route.
        RouteNotFound = "route_not_found",
        /// 408: the body came too slowly.
        BodyTimeout = "body_timeout",
        /// 413: the body is too large.
        BodyTooLarge = "body_too_large",
        /// 429: too many requests a minute.
        RequestRate = "request_rate",
        /// 429: too many tokens a minute.
        TokenRate = "token_rate",
        /// 429: too many requests at the same time.
        Concurrency = "concurrency",
        /// 429: a budget of requests is spent.
        RequestBudget = "request_budget",
        /// 409 or 422: the Idempotency-Key is taken.
        IdempotencyKey = "idempotency_key",
        /// 503: the database is away, no price book is in force, or the process is stopping.
        NotReady = "not_ready",
        /// 503 or 429: no master account can serve.
        NoUpstream = "no_upstream",
        /// 429: the upstream's quota of free models is used up, or this tenant's part of it.
        FreeQuota = "free_quota",
    }
}

label_set! {
    /// Why a connection was closed before a request.
    Rejection {
        /// The address has as many as it may have.
        AddressLimit = "address_limit",
        /// A trusted proxy sent no header of the PROXY protocol.
        ProxyHeader = "proxy_header",
        /// No keys could be agreed on.
        TlsHandshake = "tls_handshake",
        /// Header and handshake took too long.
        HandshakeTimeout = "handshake_timeout",
        /// It speaks no TLS.
        PlainHttp = "plain_http",
        /// The server stops.
        Stopping = "stopping",
    }
}

label_set! {
    /// What went wrong at or on the way to the upstream.
    FaultKind {
        /// The master account's key is not accepted.
        BadKey = "bad_key",
        /// The master account can't pay.
        NoCredit = "no_credit",
        /// The key's own spending limit is reached.
        KeyLimited = "key_limited",
        /// The upstream limits the master account's rate.
        AccountRateLimited = "account_rate_limited",
        /// The master account isn't permitted to do this.
        NotPermitted = "not_permitted",
        /// A provider limits the rate.
        ProviderRateLimited = "provider_rate_limited",
        /// A provider or the upstream failed.
        ProviderFailed = "provider_failed",
        /// A compatible server failed.
        ServerFailed = "server_failed",
        /// A compatible server does not have a model of its price table.
        ModelNotServed = "model_not_served",
        /// It took too long.
        Timeout = "timeout",
        /// The request itself was refused.
        Request = "request",
        /// No connection: name, address, route or TLS.
        Connect = "connect",
        /// The connection broke, before or during the answer.
        Broken = "broken",
        /// The answer can't be read.
        BadAnswer = "bad_answer",
    }
}

impl From<Fault> for FaultKind {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::BadKey => Self::BadKey,
            Fault::NoCredit => Self::NoCredit,
            Fault::KeyLimited => Self::KeyLimited,
            Fault::AccountRateLimited { .. } => Self::AccountRateLimited,
            Fault::NotPermitted => Self::NotPermitted,
            Fault::ProviderRateLimited { .. } => Self::ProviderRateLimited,
            Fault::ProviderFailed => Self::ProviderFailed,
            Fault::ServerFailed => Self::ServerFailed,
            Fault::ModelNotServed => Self::ModelNotServed,
            Fault::Timeout => Self::Timeout,
            Fault::Request => Self::Request,
        }
    }
}

label_set! {
    /// How the circuit breaker of a master account stands.
    BreakerState {
        /// Requests pass.
        Closed = "closed",
        /// Nobody passes.
        Open = "open",
        /// One request may pass, or is under way.
        HalfOpen = "half_open",
    }
}

label_set! {
    /// What must not happen, and what the operator should look at when it does.
    Alarm {
        /// The upstream billed nothing for output of a model that has a price.
        FreeOutput = "free_output",
        /// A price above its hold: the bound was wrong.
        PriceAboveHold = "price_above_hold",
        /// The upstream reported a negative or unreadable cost.
        BadCost = "bad_cost",
        /// The database has lost ledger transactions that were durable.
        DatabaseOlder = "database_older",
        /// The upstream billed otherwise than it is booked.
        BillDiffers = "bill_differs",
        /// The reported cost is far from tokens × price book.
        CostMismatch = "cost_mismatch",
        /// An answer came to its end without a usage.
        UsageMissing = "usage_missing",
        /// The database refused a batch of usage events.
        CommitRefused = "commit_refused",
        /// The certificate's files have changed, and can't be used: the old one goes on.
        CertificateRefused = "certificate_refused",
    }
}

label_set! {
    /// What was done with an answer whose client had gone.
    Abandonment {
        /// The upstream was cancelled at once.
        Cancelled = "cancelled",
        /// It was read to its end.
        Drained = "drained",
        /// It was read on until a cap of the plan's, then cancelled.
        Capped = "capped",
    }
}

label_set! {
    /// Who bears what an answer cost.
    Bearer {
        /// The client: its price is charged.
        Client = "client",
        /// The operator: its cost is a loss.
        Operator = "operator",
    }
}

label_set! {
    /// Kinds of tokens; `cached` is part of `prompt`, `reasoning` of `completion`.
    TokenKind {
        /// All tokens of prompts.
        Prompt = "prompt",
        /// All tokens of answers.
        Completion = "completion",
        /// Prompt tokens read from a cache.
        Cached = "cached",
        /// Answer tokens spent on reasoning.
        Reasoning = "reasoning",
    }
}

label_set! {
    /// Quantities that go up and down.
    Gauge {
        /// Requests that were admitted and are not finished.
        RequestsInFlight = "airouter_requests_in_flight",
        /// Open client connections.
        OpenConnections = "airouter_open_connections",
        /// Nano-dollars held for requests in flight, summed over budgets.
        HeldNanodollars = "airouter_held_nanodollars",
        /// Nano-dollars leased by this process, summed over budgets.
        LeasedNanodollars = "airouter_leased_nanodollars",
        /// Leases of this process.
        Leases = "airouter_leases",
        /// Usage events that wait for their group commit.
        SettlementQueue = "airouter_settlement_queue_events",
        /// Group commits that wait on the local disk for the database.
        SpooledBatches = "airouter_spooled_batches",
        /// Requests that run at upstreams, each on a connection of its own.
        UpstreamRequests = "airouter_upstream_requests",
        /// Open database connections for reading.
        DatabaseConnections = "airouter_database_connections",
        /// Database connections for reading that nobody uses.
        IdleDatabaseConnections = "airouter_database_connections_idle",
        /// Requests whose usage is still being asked for.
        PendingRequests = "airouter_pending_requests",
        /// Keys in the cache of account snapshots, unknown ones too.
        KeyCacheEntries = "airouter_key_cache_entries",
        /// Models on sale.
        ModelsOnSale = "airouter_models_on_sale",
        /// 1 when rate limits are shared through Redis, 0 when not.
        RedisUp = "airouter_redis_up",
        /// When the certificate for clients ends, in seconds since 1970.
        CertificateExpiry = "airouter_certificate_expiry_timestamp_seconds",
        /// 1 when requests are accepted, 0 when not.
        Ready = "airouter_ready",
    }
}

impl Gauge {
    pub(super) const fn help(self) -> &'static str {
        match self {
            Self::RequestsInFlight => "Requests that were admitted and are not finished.",
            Self::OpenConnections => "Open client connections.",
            Self::HeldNanodollars => {
                "Nano-dollars held for requests in flight, summed over budgets."
            }
            Self::LeasedNanodollars => "Nano-dollars leased by this process, summed over budgets.",
            Self::Leases => "Leases of this process.",
            Self::SettlementQueue => "Usage events that wait for their group commit.",
            Self::SpooledBatches => "Group commits that wait on the local disk for the database.",
            Self::UpstreamRequests => {
                "Requests that run at upstreams, each on a connection of its own."
            }
            Self::DatabaseConnections => "Open database connections for reading.",
            Self::IdleDatabaseConnections => "Database connections for reading that nobody uses.",
            Self::PendingRequests => "Requests whose usage is still being asked for.",
            Self::KeyCacheEntries => "Keys in the cache of account snapshots, unknown ones too.",
            Self::ModelsOnSale => "Models on sale.",
            Self::RedisUp => "1 when rate limits are shared through Redis, 0 when not.",
            Self::CertificateExpiry => {
                "When the certificate for clients ends, in seconds since 1970; 0 without TLS."
            }
            Self::Ready => "1 when requests are accepted, 0 when not.",
        }
    }
}
