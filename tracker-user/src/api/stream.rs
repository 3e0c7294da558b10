//! Calls as they are stored: server-sent events, one a call.
//!
//! A stream asks the ledger whenever something was stored, and only once its reader has taken what there was:
//! whoever reads slowly holds up nobody, misses nothing and takes little memory. Behind the calls of one answer
//! there is an `id`, from which a stream goes on (`Last-Event-ID`), also after a restart of the daemon.

use std::{
    fmt::Write as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    StatusCode,
    body::{Body, Frame, SizeHint},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, interval_at, sleep},
};

use super::{Problem, Settle, Viewer, reader::Reader};
use crate::{
    ledger::{Condition, Span, StoredCall},
    places::{Place, Places},
};

/// Streams at a time, of which one user has a quarter at most.
const STREAMS: usize = 32;
/// Calls of one answer of the ledger.
const AT_ONCE: u32 = 100;
/// Between two looks at whether anything was stored.
const LOOK: Duration = Duration::from_millis(100);
/// Between two tries to ask a ledger that does not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two signs of life on a stream, so that one whose reader is gone is noticed.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// The media type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// What is to be followed, and who asks.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) viewer: Viewer,
    pub(super) conditions: Vec<Condition>,
    pub(super) begin: Begin,
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// With the latest so many calls of a stretch of time.
    Latest(Span, u32),
    /// Behind an `id`.
    Behind(i64),
}

/// What answers: the ledger, and who knows when there is something new in it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) ledger: Arc<Reader>,
    pub(super) settle: Option<Arc<Settle>>,
}

/// All streams.
#[derive(Debug)]
pub(super) struct Streams {
    places: Places<Viewer>,
    stop: watch::Sender<bool>,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { places: Places::new(STREAMS), stop: watch::Sender::new(false) }
    }

    /// One more. What stands in its way is said now, not in the stream.
    pub(super) async fn open(&self, stored: Stored, followed: Followed) -> Result<Events, Problem> {
        let viewer = followed.viewer;
        let place = self.places.enter(viewer, viewer == Viewer::All).ok_or_else(|| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "there are too many streams: close one")
        })?;
        let mut follower = Follower { seen: stored.count(), stored, followed };
        let first = follower.ask().await?;
        let (sender, events) = mpsc::channel(1);
        let mut stop = self.stop.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                // An error is that there is nobody left to say so.
                _ = stop.wait_for(|stopped| *stopped) => {}
                () = sender.closed() => {}
                () = follower.run(first, &sender) => {}
            }
        });
        let alive = interval_at(Instant::now(), ALIVE_EVERY);
        Ok(Events { events, alive, over: false, _place: place })
    }

    /// Ends all of them, and tells their readers.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Stored {
    /// How many calls were stored since the daemon began; absent where nobody counts them.
    fn count(&self) -> Option<u64> {
        self.settle.as_ref().map(|settle| settle.stored())
    }
}

/// Calls of one answer, and the `id` behind them.
type Answer = (Vec<StoredCall>, i64);

/// Asks again and again.
struct Follower {
    stored: Stored,
    followed: Followed,
    /// How many calls were stored when it asked last.
    seen: Option<u64>,
}

impl Follower {
    /// What there is now; next time, what is behind that.
    async fn ask(&mut self) -> Result<Answer, Problem> {
        self.seen = self.stored.count();
        let Followed { viewer, conditions, begin } = self.followed.clone();
        let question = self.stored.ledger.ask(viewer, move |ledger| match begin {
            Begin::Latest(span, most) => ledger.calls_and_number(span, &conditions, most),
            Begin::Behind(number) => ledger.calls_after(number, &conditions, AT_ONCE),
        });
        let (answer, _turn) = question.await?;
        self.followed.begin = Begin::Behind(answer.1);
        Ok(answer)
    }

    /// Hands on what there is until nobody takes it.
    async fn run(mut self, first: Answer, events: &mpsc::Sender<Bytes>) {
        let (mut calls, mut number) = first;
        // The first `id` is said in any case.
        let mut said = None;
        loop {
            if said != Some(number) && events.send(encode(&calls, number)).await.is_err() {
                return;
            }
            said = Some(number);
            if calls.len() < AT_ONCE as usize {
                self.wait().await;
            }
            (calls, number) = loop {
                match self.ask().await {
                    Ok(answer) => break answer,
                    Err(_) => sleep(AGAIN).await,
                }
            };
        }
    }

    /// Until there may be something new.
    async fn wait(&self) {
        loop {
            sleep(LOOK).await;
            if self.seen.is_none() || self.stored.count() != self.seen {
                return;
            }
        }
    }
}

/// Events, by the HTML standard's chapter on them; JSON has no line breaks. A block that has only an `id` is no
/// event: clients remember it.
fn encode(calls: &[StoredCall], number: i64) -> Bytes {
    let mut text = String::new();
    for call in calls {
        match serde_json::to_string(call) {
            Ok(call) => _ = write!(text, "event: call\ndata: {call}\n\n"),
            Err(error) => tracing::error!(%error, "a call could not be written"),
        }
    }
    // A string takes whatever it is given.
    _ = write!(text, "id: {number}\n\n");
    text.into()
}

/// A stream, as a body.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Bytes>,
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
                frame(Bytes::from_static(b"event: end\ndata: {\"reason\":\"stopping\"}\n\n"))
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
    use serde_json::Value;

    use super::*;
    use crate::{
        ledger::Store,
        record::tests::{bare, full},
    };

    const ALL: Span = Span { from: 0, until: i64::MAX };

    /// A ledger, who writes and who reads it.
    fn ledger() -> (tempfile::TempDir, Store, Stored) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.db");
        let store = Store::open(&file).unwrap();
        (folder, store, Stored { ledger: Arc::new(Reader::new(file)), settle: None })
    }

    fn followed(viewer: Viewer, begin: Begin) -> Followed {
        Followed { viewer, conditions: Vec::new(), begin }
    }

    async fn frame(events: &mut Events) -> Option<String> {
        let frame = events.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    /// The next frame that says something.
    async fn next(events: &mut Events) -> String {
        loop {
            let text = frame(events).await.unwrap();
            if text != ": watching\n\n" {
                return text;
            }
        }
    }

    async fn calls(events: &mut Events) -> (Vec<u64>, i64) {
        read(&next(events).await)
    }

    /// The processes of the calls in a frame, and the `id` behind them.
    fn read(frame: &str) -> (Vec<u64>, i64) {
        let (calls, id) = frame.trim_end().rsplit_once("id: ").unwrap();
        let calls = calls.split_terminator("\n\n").map(|event| {
            let call: Value =
                serde_json::from_str(event.strip_prefix("event: call\ndata: ").unwrap()).unwrap();
            call["process"]["pid"].as_u64().unwrap()
        });
        (calls.collect(), id.parse().unwrap())
    }

    #[tokio::test]
    async fn a_stream_has_the_calls_that_its_reader_may_see_and_goes_on_from_an_id() {
        let (_folder, mut store, stored) = ledger();
        store.append([&full(), &bare()]).unwrap();
        let streams = Streams::new();
        let open = |viewer, begin| streams.open(stored.clone(), followed(viewer, begin));
        let mut all = open(Viewer::All, Begin::Latest(ALL, 0)).await.unwrap();
        let mut one = open(Viewer::User(1000), Begin::Latest(ALL, 5)).await.unwrap();
        let [of_1000, of_nobody] = [full(), bare()].map(|record| u64::from(record.origin.process.pid));
        assert_eq!(calls(&mut all).await, (vec![], 2));
        assert_eq!(calls(&mut one).await, (vec![of_1000], 2));
        store.append([&bare()]).unwrap();
        assert_eq!(calls(&mut all).await, (vec![of_nobody], 3));
        // Not theirs: nothing but from where to go on.
        assert_eq!(calls(&mut one).await, (vec![], 3));
        drop(all);
        store.append([&full()]).unwrap();
        let mut again = open(Viewer::All, Begin::Behind(2)).await.unwrap();
        assert_eq!(calls(&mut again).await, (vec![of_nobody, of_1000], 4));
        assert_eq!(calls(&mut one).await, (vec![of_1000], 4));
        streams.stop();
        for mut events in [one, again] {
            assert!(next(&mut events).await.contains("stopping"));
            assert_eq!(frame(&mut events).await, None);
        }
    }

    #[tokio::test]
    async fn conditions_choose_and_who_reads_slowly_misses_nothing() {
        let (_folder, mut store, stored) = ledger();
        let streams = Streams::new();
        let conditions = vec!["process=python3".parse().unwrap()];
        let begin = Begin::Latest(ALL, 10);
        let slow = Followed { viewer: Viewer::All, conditions, begin };
        let mut slow = streams.open(stored, slow).await.unwrap();
        let many = 2 * AT_ONCE as usize + 10;
        for _ in 0..many {
            store.append([&full(), &bare()]).unwrap();
        }
        let (mut seen, mut answers) = (Vec::new(), 0);
        while seen.len() < many {
            seen.extend(calls(&mut slow).await.0);
            answers += 1;
        }
        assert!(answers >= 3, "{answers} answers");
        assert_eq!(seen, vec![u64::from(full().origin.process.pid); many]);
    }

    #[tokio::test]
    async fn streams_are_few_and_whoever_leaves_makes_room() {
        let (_folder, _store, stored) = ledger();
        let streams = Streams::new();
        let open = async |uid| {
            let begin = Begin::Latest(ALL, 0);
            streams.open(stored.clone(), followed(Viewer::User(uid), begin)).await
        };
        let mut opened = Vec::new();
        for _ in 0..STREAMS / 4 {
            opened.push(open(1).await.unwrap());
        }
        assert_eq!(open(1).await.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        let _other = open(2).await.unwrap();
        opened.pop();
        let _again = open(1).await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_of_no_ledger_is_refused() {
        let stored = Stored { ledger: Arc::new(Reader::new("/nonexistent/l.db".into())), settle: None };
        let refused = Streams::new().open(stored, followed(Viewer::All, Begin::Behind(0))).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
