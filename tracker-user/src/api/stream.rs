//! Calls as they happen: server-sent events, one a call.
//!
//! Whoever reads too slowly to keep up is told so and sent away; nobody waits for them.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    StatusCode,
    body::{Body, Frame, SizeHint},
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, Interval, interval_at},
};

use super::{Problem, Viewer};
use crate::{
    live::Owner,
    places::{Place, Places},
    record::{Record, Sample, Sink, line},
};

/// Streams at a time, of which one user has a quarter at most.
const STREAMS: usize = 32;
/// Calls that may wait to be sent on a stream, a few hundred kilobytes; who lets more pile up is too slow.
const QUEUE: usize = 256;
/// Between two signs of life on a stream, so that one whose reader is gone is noticed.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// The media type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Sends every call to those who want to hear of it as it happens. Clones are one.
#[derive(Clone, Debug)]
pub struct CallStream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    readers: Mutex<Vec<Reader>>,
    places: Places<Viewer>,
    too_slow: AtomicU64,
}

#[derive(Debug)]
struct Reader {
    viewer: Viewer,
    events: mpsc::Sender<Bytes>,
    too_slow: Arc<AtomicBool>,
}

impl Default for CallStream {
    fn default() -> Self {
        let shared =
            Shared { readers: Mutex::default(), places: Places::new(STREAMS), too_slow: AtomicU64::new(0) };
        Self(Arc::new(shared))
    }
}

impl CallStream {
    /// The calls that somebody may see, from now on.
    pub(super) fn open(&self, viewer: Viewer) -> Result<Events, Problem> {
        let place = self.0.places.enter(viewer, viewer == Viewer::All).ok_or_else(|| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "there are too many streams: close one")
        })?;
        let (sender, events) = mpsc::channel(QUEUE);
        let too_slow = Arc::new(AtomicBool::new(false));
        self.readers().push(Reader { viewer, events: sender, too_slow: Arc::clone(&too_slow) });
        let alive = interval_at(Instant::now(), ALIVE_EVERY);
        Ok(Events { events, too_slow, alive, over: false, _place: place })
    }

    /// Ends all streams, and tells their readers.
    pub(crate) fn close(&self) {
        self.readers().clear();
    }

    /// For the metrics page.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        vec![Sample::counter(
            "llm_tracker_api_streams_dropped_total",
            "Streams of calls ended because their reader was too slow.",
            self.0.too_slow.load(Ordering::Relaxed),
        )]
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for CallStream {
    fn record(&self, record: &Record) {
        let mut event = None;
        self.readers().retain(|reader| {
            if !reader.viewer.sees(&Owner::of(&record.origin)) {
                return !reader.events.is_closed();
            }
            // Written once, and only where somebody reads it.
            let Some(event) = event.get_or_insert_with(|| encode(record)) else { return true };
            match reader.events.try_send(event.clone()) {
                Ok(()) => true,
                Err(TrySendError::Closed(_)) => false,
                Err(TrySendError::Full(_)) => {
                    reader.too_slow.store(true, Ordering::Release);
                    self.0.too_slow.fetch_add(1, Ordering::Relaxed);
                    false
                }
            }
        });
    }
}

/// An event, by the HTML standard's chapter on them. JSON has no line breaks.
fn encode(record: &Record) -> Option<Bytes> {
    let line =
        line::encode(record).inspect_err(|error| tracing::error!(%error, "a call could not be written"));
    Some([b"event: call\ndata: ", line.ok()?.as_slice(), b"\n"].concat().into())
}

/// A stream, as a body.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Bytes>,
    too_slow: Arc<AtomicBool>,
    /// Due at once: the first one says that the stream is there.
    alive: Interval,
    over: bool,
    _place: Place<Viewer>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match this.events.poll_recv(context) {
            Poll::Ready(Some(event)) => frame(event),
            Poll::Ready(None) if this.over => Poll::Ready(None),
            Poll::Ready(None) => {
                this.over = true;
                let too_slow = this.too_slow.load(Ordering::Acquire);
                frame(Bytes::from_static(if too_slow {
                    b"event: end\ndata: {\"reason\":\"too_slow\"}\n\n"
                } else {
                    b"event: end\ndata: {\"reason\":\"stopping\"}\n\n"
                }))
            }
            Poll::Pending => {
                ready!(this.alive.poll_tick(context));
                frame(Bytes::from_static(b": watching\n\n"))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over && self.events.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::record::tests::{bare, full};

    async fn next(events: &mut Events) -> Option<String> {
        let frame = events.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_has_the_calls_that_its_reader_may_see() {
        let stream = CallStream::default();
        stream.record(&full());
        let (mut all, mut one) =
            (stream.open(Viewer::All).unwrap(), stream.open(Viewer::User(1000)).unwrap());
        stream.record(&bare());
        stream.record(&full());
        let line = |record: &Record| String::from_utf8(line::encode(record).unwrap()).unwrap();
        for record in [bare(), full()] {
            assert_eq!(next(&mut all).await.unwrap(), format!("event: call\ndata: {}\n", line(&record)));
        }
        assert!(next(&mut one).await.unwrap().contains(&line(&full())));
        assert_eq!(next(&mut one).await.unwrap(), ": watching\n\n");
        let begun = Instant::now();
        assert_eq!(next(&mut one).await.unwrap(), ": watching\n\n");
        assert_eq!(begun.elapsed(), ALIVE_EVERY);
        stream.close();
        assert!(next(&mut one).await.unwrap().contains("stopping"));
        assert_eq!(next(&mut one).await, None);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_and_counted() {
        let stream = CallStream::default();
        let mut slow = stream.open(Viewer::All).unwrap();
        for _ in 0..QUEUE + 5 {
            stream.record(&full());
        }
        for _ in 0..QUEUE {
            assert!(next(&mut slow).await.unwrap().starts_with("event: call\n"));
        }
        assert!(next(&mut slow).await.unwrap().contains("too_slow"));
        assert_eq!(next(&mut slow).await, None);
        assert_eq!(stream.0.too_slow.load(Ordering::Relaxed), 1);
        assert!(stream.readers().is_empty());
    }

    #[tokio::test]
    async fn streams_are_few_and_whoever_leaves_makes_room() {
        let stream = CallStream::default();
        let mut open: Vec<_> = (0..STREAMS / 4).map(|_| stream.open(Viewer::User(1)).unwrap()).collect();
        let problem = stream.open(Viewer::User(1)).unwrap_err();
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        let _other = stream.open(Viewer::User(2)).unwrap();
        open.pop();
        let _again = stream.open(Viewer::User(1)).unwrap();
        stream.record(&full());
        assert_eq!(stream.readers().len(), STREAMS / 4 + 1, "the one that left is forgotten");
    }
}
