//! The simulated upstream as a server: configuration, start, shutdown, and which request goes where.

use std::{io, net::SocketAddr, sync::Arc};

use http::{Method, Request, Response};
use hyper::{body::Incoming, service::service_fn};

use crate::{
    account_api::{self, AccountAnswer, json_response},
    body::SimulatedBody,
    books::{Beginning, RecordedCost, Settings},
    chat::{self, Closed},
    control,
    errors::ApiError,
    listener::Listening,
    money::Picodollars,
    shared::Shared,
    speaks::Speaks,
};

/// The master key that is accepted unless others are set.
pub const DEFAULT_MASTER_KEY: &str = "sk-or-v1-simulated";
/// The management key that belongs to [`DEFAULT_MASTER_KEY`].
pub const DEFAULT_MANAGEMENT_KEY: &str = "sk-or-v1-simulated-management";

/// How a simulated upstream begins.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it speaks.
    pub speaks: Speaks,
    /// Accepted inference keys (an empty one: requests without a key); each is an account of its own.
    pub master_keys: Vec<String>,
    /// Management keys: the n-th belongs to the n-th master key's account. They alone may read `/credits` and
    /// `/activity`.
    pub management_keys: Vec<String>,
    /// The credit that each account begins with.
    pub credit: Picodollars,
    /// Count so many prompt tokens a byte of the whole body (default: a quarter of the bytes of `messages`).
    pub prompt_tokens_per_byte: Option<u32>,
    /// Milliseconds from the end of a generation until its record can be read.
    pub generation_delay_ms: u32,
    /// The same for a stream whose client hung up.
    pub generation_delay_after_abort_ms: u32,
    /// Generations that are remembered; older ones only count in the sums.
    pub keep_generations: usize,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            speaks: Speaks::OpenRouter,
            master_keys: vec![DEFAULT_MASTER_KEY.to_owned()],
            management_keys: vec![DEFAULT_MANAGEMENT_KEY.to_owned()],
            credit: Picodollars::of_units(1_000_000, 1_000_000_000_000),
            prompt_tokens_per_byte: None,
            generation_delay_ms: 50,
            generation_delay_after_abort_ms: 50,
            keep_generations: 200_000,
        }
    }
}

/// An upstream that speaks OpenRouter's API, deterministic, with faults on request and books of its own.
#[derive(Clone, Copy, Debug)]
pub struct Simulator;

/// A simulated upstream that is listening; dropping it stops it without waiting.
#[derive(Debug)]
pub struct RunningSimulator {
    listening: Listening,
    shared: Arc<Shared>,
}

impl Simulator {
    /// Binds the address and serves until shutdown. Must run inside a Tokio runtime.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn start(config: SimulatorConfig) -> io::Result<RunningSimulator> {
        let beginning = Beginning {
            master_keys: config.master_keys,
            management_keys: config.management_keys,
            credit: config.credit,
            keep_generations: config.keep_generations,
            settings: Settings {
                prompt_tokens_per_byte: config.prompt_tokens_per_byte,
                generation_delay_ms: config.generation_delay_ms,
                generation_delay_after_abort_ms: config.generation_delay_after_abort_ms,
                generation_cost: RecordedCost::Told,
            },
        };
        let shared = Arc::new(Shared::new(config.speaks, beginning));
        let for_requests = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&for_requests);
            async move { route(&shared, request).await }
        });
        Ok(RunningSimulator {
            listening: Listening::start(config.listen, service)?,
            shared,
        })
    }
}

impl RunningSimulator {
    /// The address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// What to set as `OPENROUTER_BASE_URL`.
    #[must_use]
    pub fn base_url(&self) -> String {
        let path = self.shared.speaks.base_path();
        format!("http://{}{path}", self.listening.address)
    }

    /// Everything billed since the start or the last reset. A stream that is cancelled at a provider which runs on is
    /// billed in full at once.
    #[must_use]
    pub fn billed(&self) -> Picodollars {
        self.shared.books().totals.billed
    }

    /// Stops: running answers get a moment to end.
    pub async fn shutdown(self) {
        self.listening.shutdown().await;
    }
}

async fn route(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<SimulatedBody>, Closed> {
    let path = request.uri().path();
    if let Some(control) = path.strip_prefix("/_sim/") {
        let control = control.to_owned();
        return Ok(control::answer(shared, &control, request).await);
    }
    let (headers, query) = (request.headers(), request.uri().query());
    let speaks = shared.speaks;
    let path = path.strip_prefix(speaks.base_path()).unwrap_or_default();
    let answer = match (request.method(), path, speaks) {
        (&Method::POST, "/chat/completions", _) => return chat::answer(shared, request).await,
        (&Method::GET, "/models", Speaks::Compatible) => account_api::models(shared, headers),
        (&Method::GET, "/models", _) => Ok(Some(shared.models.clone())),
        (&Method::GET, "/credits", Speaks::OpenRouter) => account_api::credits(shared, headers),
        (&Method::GET, "/key", Speaks::OpenRouter) => account_api::key(shared, headers),
        (&Method::GET, "/activity", Speaks::OpenRouter) => {
            account_api::activity(shared, headers, query)
        }
        (&Method::GET, "/generation", Speaks::OpenRouter) => {
            account_api::generation(shared, headers, query)
        }
        _ => Err(ApiError::not_found("Not Found")),
    };
    Ok(account_response(answer, speaks).await)
}

async fn account_response(answer: AccountAnswer, speaks: Speaks) -> Response<SimulatedBody> {
    match answer {
        Ok(Some(body)) => json_response(body),
        Ok(None) => std::future::pending().await,
        Err(error) => error.response(speaks),
    }
}
