//! The board in Redis: one hash for each key, one field of it for each replica, all of it gone after a minute without use.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, Pipeline, RedisError, Script,
    ScriptInvocation, ServerErrorKind,
};

use crate::LimitKind;
use crate::board::{
    Answer, Board, Leaving, POST_LIVES_MS, Post, RESERVE_COUNTS_MS, RUNNING_COUNTS_MS, Unreachable,
};
use crate::kinds::ByKind;

/// For so long one exchange may take. Requests don't wait as long.
const EXCHANGE: Duration = Duration::from_millis(100);
/// For so long connecting may take.
const CONNECT: Duration = Duration::from_secs(1);
/// What all names in Redis begin with.
const PREFIX: &str = "airouter";
/// Larger amounts can't be told exactly; they are beyond every limit that is shared.
const MOST: u64 = 1 << 53;

/// What the post script returns.
type RawAnswer = (
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    Vec<u64>,
    Vec<u64>,
);

/// Counters that replicas share through Redis 7 or what speaks its protocol (one server, not a cluster).
pub struct RedisBoard {
    client: Client,
    connection: Option<MultiplexedConnection>,
    post_script: Script,
    join_script: Script,
    /// Of this process: another one at every start.
    replica: String,
    prefix: String,
    time: Time,
    exchange: Duration,
}

/// By whose clock posts age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    /// By the server's: those of replicas may disagree.
    Servers,
    /// By the moments in posts.
    #[cfg(test)]
    Posts,
}

/// Not the URL of a Redis server. The URL is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the URL of a Redis server; expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], or rediss:// with TLS"
)]
pub struct MalformedUrl;

impl RedisBoard {
    /// The board at `url` (`redis://`, `redis+unix://`, or `rediss://` for TLS: the server's certificate must be trusted by
    /// the system, and a default provider of rustls be installed). Connects to nobody yet.
    pub fn open(url: &str) -> Result<Self, MalformedUrl> {
        let info = url.into_connection_info().map_err(|_| MalformedUrl)?;
        Ok(Self {
            client: Client::open(info).map_err(|_| MalformedUrl)?,
            connection: None,
            post_script: Script::new(&post_script()),
            join_script: Script::new(include_str!("redis_board/join.lua")),
            // As random as the hash maps' keys.
            replica: format!("{:016x}", RandomState::new().hash_one(std::process::id())),
            prefix: PREFIX.to_owned(),
            time: Time::Servers,
            exchange: EXCHANGE,
        })
    }

    /// A board whose posts age by their own moments, under names of its own.
    #[cfg(test)]
    pub(crate) fn for_test(url: &str, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            time: Time::Posts,
            exchange: Duration::from_secs(10),
            ..Self::open(url).unwrap()
        }
    }

    /// The same by the server's clock, as in production.
    #[cfg(test)]
    pub(crate) fn by_servers_clock(self) -> Self {
        Self {
            time: Time::Servers,
            ..self
        }
    }

    #[cfg(test)]
    pub(crate) fn with_usual_patience(self) -> Self {
        Self {
            exchange: EXCHANGE,
            ..self
        }
    }

    async fn connected(&mut self) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(self.exchange));
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        self.post_script.load_async(&mut connection).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn try_exchange(&mut self, posts: &[Post]) -> Result<Vec<RawAnswer>, RedisError> {
        let mut connection = self.connected().await?;
        let mut pipeline = Pipeline::with_capacity(posts.len());
        for post in posts {
            pipeline.invoke_script(&self.invocation(post));
        }
        match pipeline.query_async(&mut connection).await {
            // The server has lost its scripts. Posting twice does no harm.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.post_script.load_async(&mut connection).await?;
                pipeline.query_async(&mut connection).await
            }
            result => result,
        }
    }

    fn invocation(&self, post: &Post) -> ScriptInvocation<'_> {
        let mut invocation = self.post_script.prepare_invoke();
        invocation.key(format!("{}:limits:{}", self.prefix, post.key));
        match self.time {
            Time::Servers => invocation.arg(""),
            #[cfg(test)]
            Time::Posts => invocation.arg(post.now.0),
        };
        invocation.arg(&self.replica).arg(post.replicas);
        for kind in LimitKind::ALL {
            let claim = post.claims[kind];
            invocation
                .arg(claim.limit)
                .arg(claim.own.min(MOST))
                .arg(claim.reserve.min(MOST))
                .arg(claim.want)
                .arg(claim.least)
                .arg(claim.ahead);
        }
        invocation.arg(pairs(&post.leaving.requests));
        invocation.arg(pairs(&post.leaving.tokens));
        invocation
    }

    async fn registered(&mut self, how: &str) -> Result<u32, RedisError> {
        let mut connection = self.connected().await?;
        self.join_script
            .key(format!("{}:replicas", self.prefix))
            .arg(&self.replica)
            .arg(how)
            .invoke_async(&mut connection)
            .await
    }

    /// After an error the next call connects anew.
    fn unreachable(&mut self, error: &RedisError) -> Unreachable {
        self.connection = None;
        Unreachable(error.to_string())
    }
}

impl Board for RedisBoard {
    async fn join(&mut self) -> Result<u32, Unreachable> {
        let joined = self.registered("join").await;
        joined.map_err(|error| self.unreachable(&error))
    }

    async fn exchange(&mut self, posts: &[Post]) -> Result<Vec<Answer>, Unreachable> {
        let answers = self.try_exchange(posts).await;
        let answers = answers.map_err(|error| self.unreachable(&error))?;
        Ok(answers.into_iter().map(answer).collect())
    }

    async fn leave(&mut self) {
        if self.connection.is_some()
            && let Err(error) = self.registered("leave").await
        {
            tracing::debug!(%error, "Redis was not told that this replica is gone");
        }
    }
}

impl std::fmt::Debug for RedisBoard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RedisBoard")
            .field("replica", &self.replica)
            .finish_non_exhaustive()
    }
}

/// The script, with our constants.
fn post_script() -> String {
    format!(
        "local RESERVE_COUNTS_MS, RUNNING_COUNTS_MS, POST_LIVES_MS, MOST = \
         {RESERVE_COUNTS_MS}, {RUNNING_COUNTS_MS}, {POST_LIVES_MS}, {MOST}\n{}",
        include_str!("redis_board/post.lua")
    )
}

fn answer(raw: RawAnswer) -> Answer {
    let (
        granted_requests,
        other_requests,
        last_request,
        granted_tokens,
        other_tokens,
        last_token,
        granted_concurrency,
        other_concurrency,
        last_running,
        leaving_requests,
        leaving_tokens,
    ) = raw;
    Answer {
        granted: ByKind {
            requests: granted_requests,
            tokens: granted_tokens,
            concurrency: granted_concurrency,
        },
        others: ByKind {
            requests: other_requests,
            tokens: other_tokens,
            concurrency: other_concurrency,
        },
        last_after_ms: ByKind {
            requests: last_request,
            tokens: last_token,
            concurrency: last_running,
        },
        leaving: ByKind {
            requests: leaving(&leaving_requests),
            tokens: leaving(&leaving_tokens),
            concurrency: Vec::new(),
        },
    }
}

fn leaving(pairs: &[u64]) -> Vec<Leaving> {
    let (pairs, _) = pairs.as_chunks();
    let leaving = pairs.iter().map(|[after_ms, amount]| Leaving {
        after_ms: *after_ms,
        amount: *amount,
    });
    leaving.collect()
}

fn pairs(leaving: &[Leaving]) -> String {
    let mut text = String::with_capacity(leaving.len() * 12);
    for part in leaving {
        // Writing to a string can't fail.
        let _ = write!(text, "{} {} ", part.after_ms, part.amount.min(MOST));
    }
    text
}
