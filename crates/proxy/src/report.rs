//! What is told of a finished request once its usage is durable: its metrics and its one line in the log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use airouter_billing::UsageEvent;
use uuid::Uuid;

use crate::abandoned::Abandoned;
use crate::catalog::CatalogEntry;
use crate::masters::Master;
use crate::metrics::{Counted, Metrics, RequestSample, Timing};

/// When what happened to a request, for the latency that we add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) accepted: Instant,
    pub(crate) sent: Option<Instant>,
    pub(crate) upstream_first: Option<Instant>,
    pub(crate) client_first: Option<Instant>,
    pub(crate) upstream_last: Option<Instant>,
}

impl Moments {
    pub(crate) fn new(accepted: Instant) -> Self {
        Self {
            accepted,
            sent: None,
            upstream_first: None,
            client_first: None,
            upstream_last: None,
        }
    }

    /// From the acceptance to the first byte for the client.
    pub(crate) fn first_byte(&self) -> Option<Duration> {
        self.client_first
            .map(|first| first.duration_since(self.accepted))
    }

    /// How long it all took, when the end of the answer may go out at `end`. Of a whole answer, the first byte goes out
    /// then too.
    fn timing(&self, end: Instant) -> Timing {
        let before = self.sent.map(|sent| sent.duration_since(self.accepted));
        let with = |from: Option<Instant>, to: Instant| {
            Some(before? + to.saturating_duration_since(from?))
        };
        let first = self.client_first.unwrap_or(end);
        Timing {
            added_first_byte: with(self.upstream_first, first),
            added_last_byte: with(self.upstream_last, end),
            first_byte: Some(first.duration_since(self.accepted)),
            whole: end.duration_since(self.accepted),
        }
    }
}

/// What is known of a request beside its usage event.
pub(crate) struct Report {
    pub(crate) moments: Moments,
    pub(crate) entry: Arc<CatalogEntry>,
    pub(crate) master: Arc<Master>,
    pub(crate) client: IpAddr,
    pub(crate) key_preview: Arc<str>,
    /// In flight until here.
    pub(crate) counted: Counted,
    /// Set when its client has gone.
    pub(crate) abandoned: Option<Abandoned>,
}

impl Report {
    /// Tells of the request, whose event is durable now.
    pub(crate) fn tell(self, event: &UsageEvent, metrics: &Metrics) {
        let timing = self.moments.timing(Instant::now());
        metrics.usage_booked(&self.entry.metrics, &self.master.metrics, event);
        metrics.request_finished(&RequestSample {
            model: &self.entry.metrics,
            master: &self.master.metrics,
            delivery: event.request.delivery,
            ending: event.ending,
            timing,
        });
        if let Some(abandoned) = self.abandoned {
            abandoned.tell(event, &self.entry.prices, metrics);
        }
        self.log(event, &timing);
        drop(self.counted);
    }

    /// The one line of a request; its fields are documented in `docs/request-log.md`.
    fn log(&self, event: &UsageEvent, timing: &Timing) {
        let (mut request, mut payer) = (Uuid::encode_buffer(), Uuid::encode_buffer());
        tracing::info!(
            target: "airouter::request",
            request = &*event.request.id.get().hyphenated().encode_lower(&mut request),
            client = %self.client,
            key = &*self.key_preview,
            payer = &*event.request.payer.get().hyphenated().encode_lower(&mut payer),
            model = event.request.requested_model,
            served_model = event.served.model,
            provider = event.served.provider,
            master_account = self.master.name,
            generation = event.served.generation_id,
            delivery = event.request.delivery.name(),
            ending = event.ending.name(),
            prompt_tokens = event.tokens.prompt,
            completion_tokens = event.tokens.completion,
            cost_source = event.source.name(),
            list_cost = %event.list_cost,
            cost = %event.cost,
            price = %event.price,
            first_byte_us = timing.first_byte.map(micros),
            added_first_byte_us = timing.added_first_byte.map(micros),
            added_last_byte_us = timing.added_last_byte.map(micros),
            duration_us = micros(timing.whole),
            "request"
        );
    }
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
