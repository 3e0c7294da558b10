//! A bound on messages of one kind: one that repeats itself a thousand times a second says no more than one
//! that is said a few times with a number.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

/// Messages from one place in the code that are let through in a [`WINDOW`].
const BURST: u32 = 100;
/// After it, the place may speak again.
const WINDOW: Duration = Duration::from_secs(10);
/// How much of a message is repeated to say what was left out, characters.
const REPEATED: usize = 120;

/// Counts what it suppresses. Clones are one; there is one entry for each place in the code that logs.
#[derive(Clone, Debug, Default)]
pub struct Suppressed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    places: Mutex<HashMap<Identifier, Place>>,
    total: AtomicU64,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    said: u32,
    suppressed: u64,
    example: String,
}

impl Suppressed {
    /// How many messages there were since the start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    /// Says what was suppressed in the windows that are over. To be called now and then.
    pub fn report(&self) {
        for (suppressed, message) in self.over(Instant::now()) {
            tracing::warn!(suppressed, seconds = WINDOW.as_secs(), "there were more of: {message}");
        }
    }

    fn over(&self, now: Instant) -> Vec<(u64, String)> {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let over = places
            .values_mut()
            .filter(|place| place.suppressed > 0 && now.saturating_duration_since(place.since) >= WINDOW);
        over.map(|place| (std::mem::take(&mut place.suppressed), std::mem::take(&mut place.example)))
            .collect()
    }

    /// Whether one more message may be said.
    fn allows(&self, event: &Event<'_>, now: Instant) -> bool {
        // Who asks for these wants all of them.
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Place { since: now, said: 0, suppressed: 0, example: String::new() };
        let place = places.entry(event.metadata().callsite()).or_insert_with(fresh);
        // What was suppressed and not yet reported goes on to be.
        if now.saturating_duration_since(place.since) >= WINDOW && place.suppressed == 0 {
            *place = fresh();
        }
        if place.said < BURST {
            place.said += 1;
            return true;
        }
        place.suppressed += 1;
        if place.example.is_empty() {
            event.record(&mut Message(&mut place.example));
        }
        self.0.total.fetch_add(1, Ordering::Relaxed);
        false
    }
}

impl<S: Subscriber> Layer<S> for Suppressed {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.allows(event, Instant::now())
    }
}

/// Takes the message out of an event.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.extend(format!("{value:?}").chars().take(REPEATED));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What a subscriber with the bound writes.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_that_repeats_itself_is_counted() {
        let (written, suppressed) = (Written::default(), Suppressed::default());
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(suppressed.clone()).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..BURST + 50 {
                tracing::warn!(number, "the disk is full");
            }
            tracing::warn!("something else");
            suppressed.report();
            assert_eq!(suppressed.total(), 50);
            let later = Instant::now() + WINDOW;
            assert_eq!(suppressed.over(later), [(50, "the disk is full".to_owned())]);
            assert!(suppressed.over(later).is_empty(), "said once");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.matches("the disk is full").count(), BURST as usize);
        assert_eq!(written.matches("something else").count(), 1, "other messages are not held back");
    }

    #[test]
    fn who_debugs_sees_everything() {
        let (written, suppressed) = (Written::default(), Suppressed::default());
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(suppressed.clone()).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..2 * BURST {
                tracing::debug!("detail");
            }
        });
        assert_eq!(suppressed.total(), 0);
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.matches("detail").count(), 2 * BURST as usize);
    }
}
