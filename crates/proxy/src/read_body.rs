//! Reads a client's body, bounded in size and time, and together with all others in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Request, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::problem::Problem;

/// Most that is set aside for a body on its own word.
const TRUSTED_LENGTH: u64 = 1 << 20;
/// A body must come faster than this on the whole.
const LEAST_BYTES_A_SECOND: u64 = 4_096;
/// However long it is, a body must be there within.
const LONGEST: Duration = Duration::from_secs(600);
/// On HTTP/1.1 a body of at most so much does not count against [`BodyMemory`]: as much as a connection's buffers. On
/// HTTP/2 a connection carries many bodies, and all of each counts.
const FREE_BYTES: usize = 64 << 10;
/// What all larger bodies together may take.
const MEMORY_BYTES: usize = 2 << 30;
/// In which pieces that is counted.
const PIECE_BYTES: usize = 64 << 10;

/// Bounds the memory that all bodies take together.
pub(crate) struct BodyMemory(Arc<Semaphore>);

impl Default for BodyMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY_BYTES / PIECE_BYTES)))
    }
}

impl BodyMemory {
    /// Room for one more piece.
    fn take(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let piece = Arc::clone(&self.0).try_acquire_owned();
        piece.map_err(|_| Problem::Busy)
    }
}

/// A body, and its share of the memory.
pub(crate) struct ReadBody {
    bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl ReadBody {
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The whole body. A body that comes in one piece is not copied.
pub(crate) async fn read_body(
    request: Request<Incoming>,
    gateway: &Gateway,
) -> Result<ReadBody, Problem> {
    let limit = gateway.settings.max_body_bytes;
    let pause = gateway.settings.timeouts.client_body;
    let headers = request.headers();
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        return Err(Problem::EncodedBody);
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(Problem::BodyTooLarge { limit });
    }
    let in_all = Duration::from_secs(length.unwrap_or(limit) / LEAST_BYTES_A_SECOND);
    let reading = Reading {
        memory: &gateway.body_memory,
        expected: usize::try_from(length.unwrap_or(0).min(TRUSTED_LENGTH)).unwrap_or(0),
        limit,
        free: match request.version() {
            Version::HTTP_2 => 0,
            _ => FREE_BYTES,
        },
        pause,
    };
    match timeout(
        (pause + in_all).min(LONGEST),
        reading.collect(request.into_body()),
    )
    .await
    {
        Ok(body) => body,
        Err(_) => Err(Problem::BodyTooSlow),
    }
}

struct Reading<'a> {
    memory: &'a BodyMemory,
    expected: usize,
    limit: u64,
    free: usize,
    pause: Duration,
}

impl Reading<'_> {
    async fn collect(&self, mut body: Incoming) -> Result<ReadBody, Problem> {
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        let mut memory: Option<OwnedSemaphorePermit> = None;
        loop {
            let part = match timeout(self.pause, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(_))) => return Err(Problem::BodyBroken),
                Ok(None) => break,
                Err(_) => return Err(Problem::BodyTooSlow),
            };
            let length = first.len() + joined.len() + part.len();
            if length as u64 > self.limit {
                return Err(Problem::BodyTooLarge { limit: self.limit });
            }
            self.account(&mut memory, length)?;
            if first.is_empty() && joined.is_empty() {
                first = part;
                continue;
            }
            if joined.is_empty() {
                joined.reserve(self.expected);
            }
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&part);
        }
        let bytes = if joined.is_empty() {
            first
        } else {
            joined.freeze()
        };
        Ok(ReadBody {
            bytes,
            _memory: memory,
        })
    }

    /// Takes as many pieces of the common memory as `length` bytes need beyond what is free.
    fn account(
        &self,
        memory: &mut Option<OwnedSemaphorePermit>,
        length: usize,
    ) -> Result<(), Problem> {
        let needed = length.saturating_sub(self.free).div_ceil(PIECE_BYTES);
        while memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) < needed {
            let piece = self.memory.take()?;
            match memory {
                Some(permit) => permit.merge(piece),
                None => *memory = Some(piece),
            }
        }
        Ok(())
    }
}
