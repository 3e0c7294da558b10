//! The tasks that send: one for spans and one for metrics, so that neither waits for the other.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::ExportMetricsServiceResponse,
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use super::{
    Loss, Stats, metrics, scope,
    transport::{Client, Failure},
};
use crate::{export::PrometheusSink, random};

/// For so long a batch is sent again and again.
const TRY_FOR: Duration = Duration::from_secs(300);
/// The first pause before a request is sent again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pauses while the daemon stops, when there is no time to wait.
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// Sends spans in batches.
pub(super) struct SpanWorker {
    pub(super) client: Client,
    pub(super) inbox: mpsc::Receiver<Span>,
    pub(super) resource: Resource,
    pub(super) max_batch: usize,
    /// How long a span waits for others to go with.
    pub(super) delay: Duration,
    pub(super) stats: Arc<Stats>,
    pub(super) stop: watch::Receiver<Option<Instant>>,
}

impl SpanWorker {
    /// Until the queue is closed and empty, or there is no time left.
    pub(super) async fn run(mut self) {
        while let Some(batch) = self.next().await {
            let spans = batch.len();
            let request = self.request(batch);
            let until = Instant::now() + TRY_FOR;
            let sent = send::<_, ExportTraceServiceResponse>(
                &self.client,
                &request,
                until,
                &self.stats,
                &mut self.stop,
            );
            match sent.await {
                Ok(response) => {
                    let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
                    let rejected = usize::try_from(rejected).unwrap_or(0).min(spans);
                    self.stats.spans.fetch_add((spans - rejected) as u64, Ordering::Relaxed);
                    self.stats.lose(Loss::Rejected, rejected, None);
                }
                Err(GivenUp::Failed(failure)) => {
                    let loss = if failure.retry { Loss::Expired } else { Loss::Refused };
                    self.stats.lose(loss, spans, Some(&failure));
                }
                Err(GivenUp::Stopped) => {
                    self.inbox.close();
                    let mut left = spans;
                    while self.inbox.try_recv().is_ok() {
                        left += 1;
                    }
                    return self.stats.lose(Loss::Shutdown, left, None);
                }
            }
        }
    }

    /// The next batch: full, or as old as may be, or the last.
    async fn next(&mut self) -> Option<Vec<Span>> {
        let mut batch = vec![self.inbox.recv().await?];
        let due = Instant::now() + self.delay;
        while batch.len() < self.max_batch {
            let room = self.max_batch - batch.len();
            // Nothing comes any more where it is closed: that is not worth a wait.
            match timeout_at(due, self.inbox.recv_many(&mut batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Some(batch)
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
        }
    }
}

/// Sends all metrics now and then.
pub(super) struct MetricsWorker {
    pub(super) client: Client,
    pub(super) source: Arc<PrometheusSink>,
    pub(super) resource: Resource,
    /// When the daemon's own numbers began.
    pub(super) since: SystemTime,
    pub(super) interval: Duration,
    pub(super) stats: Arc<Stats>,
    pub(super) stop: watch::Receiver<Option<Instant>>,
}

impl MetricsWorker {
    /// Until the daemon stops; then once more.
    pub(super) async fn run(mut self) {
        let mut due = interval(self.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, when there is nothing to tell.
        due.tick().await;
        loop {
            let last = tokio::select! {
                _ = self.stop.wait_for(Option::is_some) => true,
                _ = due.tick() => false,
            };
            self.export().await;
            if last {
                return;
            }
        }
    }

    async fn export(&mut self) {
        let (source, resource, since) = (Arc::clone(&self.source), self.resource.clone(), self.since);
        let made = tokio::task::spawn_blocking(move || metrics::requests(&source, &resource, since)).await;
        let requests = match made {
            Ok(requests) => requests,
            Err(error) => return tracing::error!(%error, "the metrics for OTLP could not be made"),
        };
        // Newer ones go in place of what cannot be sent by then.
        let until = Instant::now() + self.interval.min(TRY_FOR);
        for request in requests {
            let sent = send::<_, ExportMetricsServiceResponse>(
                &self.client,
                &request,
                until,
                &self.stats,
                &mut self.stop,
            );
            match sent.await {
                Ok(_) => {}
                // The others would not fare better.
                Err(GivenUp::Failed(failure)) if failure.retry => return,
                Err(GivenUp::Failed(_)) => {}
                Err(GivenUp::Stopped) => return,
            }
        }
    }
}

/// Why a request was given up.
enum GivenUp {
    /// It will not do, or not in time.
    Failed(Failure),
    /// The daemon has stopped.
    Stopped,
}

/// Sends a request until it is taken, or it is known that it will not be, or `until` has come, or the
/// daemon has to end.
async fn send<M, R>(
    client: &Client,
    message: &M,
    until: Instant,
    stats: &Stats,
    stop: &mut watch::Receiver<Option<Instant>>,
) -> Result<R, GivenUp>
where
    M: Message + Clone + 'static,
    R: Message + Default + 'static,
{
    let counts = stats.requests(client.signal());
    let mut pause = FIRST_PAUSE;
    loop {
        let sent = tokio::select! {
            sent = client.send(message) => sent,
            () = out_of_time(stop.clone()) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                return Err(GivenUp::Stopped);
            }
        };
        let failure = match sent {
            Ok(response) => {
                counts.ok.fetch_add(1, Ordering::Relaxed);
                return Ok(response);
            }
            Err(failure) => failure,
        };
        let stopping = stop.borrow().is_some();
        let wait = if stopping { LAST_PAUSE } else { failure.pause.unwrap_or_else(|| jittered(pause)) };
        pause = (pause * 2).min(LONGEST_PAUSE);
        let next = Instant::now() + wait;
        if !failure.retry || next > until {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(cause = %failure, "{} could not be exported", client.signal().name());
            return Err(GivenUp::Failed(failure));
        }
        counts.retried.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(cause = %failure, ?wait, "{} will be exported later", client.signal().name());
        // The end of the daemon is a last chance, and it comes soon.
        tokio::select! {
            () = sleep_until(next) => {}
            _ = stop.wait_for(Option::is_some), if !stopping => {}
        }
    }
}

/// Completes when the daemon has to end.
async fn out_of_time(mut stop: watch::Receiver<Option<Instant>>) {
    let until = stop.wait_for(Option::is_some).await.map(|until| *until);
    // Else whoever could have said so is gone, and so is the daemon.
    if let Ok(Some(until)) = until {
        sleep_until(until).await;
    }
}

/// Between half of it and all of it, so that a fleet does not come back all at once.
fn jittered(pause: Duration) -> Duration {
    let Ok([byte]) = random::bytes() else { return pause };
    pause.mul_f64(0.5 + f64::from(byte) / 512.0)
}
