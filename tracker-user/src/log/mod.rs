//! The log on standard error: text or JSON, in a form that the journal understands where it reads along, and
//! never more of it than somebody can read.

mod bound;

use std::{fmt, io::IsTerminal as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields, format,
        format::{Format, Json, JsonFields, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use crate::config::{LogConfig, LogFormat, LogLevel};
pub use bound::Suppressed;

/// The running log.
#[derive(Clone, Debug)]
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    suppressed: Suppressed,
}

impl Log {
    /// From now on, so much is said.
    pub fn set_level(&self, level: LogLevel) {
        // It fails when there is no log any more.
        let _ = self.level.reload(filter(level));
    }

    /// What was left out because there was too much of it.
    #[must_use]
    pub fn suppressed(&self) -> &Suppressed {
        &self.suppressed
    }
}

/// Starts it, once.
#[must_use]
pub fn start(config: LogConfig) -> Log {
    let (subscriber, log) = build(config);
    subscriber.init();
    log
}

/// What events go to, and the handle to it.
pub(crate) fn build(config: LogConfig) -> (impl Subscriber + Send + Sync, Log) {
    let (filter, handle) = reload::Layer::new(filter(config.level));
    let suppressed = Suppressed::default();
    let journal = reads_along();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match config.format {
        LogFormat::Text => {
            let text = format().with_target(false).with_ansi(!journal && colours());
            if journal {
                layer.event_format(Lines { journal, inner: text.without_time() }).boxed()
            } else {
                layer.with_ansi(colours()).event_format(Lines { journal, inner: text }).boxed()
            }
        }
        LogFormat::Json => layer
            .fmt_fields(JsonFields::new())
            .event_format(Lines::<Format<Json>> { journal, inner: format().json().flatten_event(true) })
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(suppressed.clone()).with(layer);
    (subscriber, Log { level: handle, suppressed })
}

/// The same in `tracing`'s words.
const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// `NO_COLOR` (<https://no-color.org>) and pipes are respected.
fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}

/// Whether standard error is the journal's: systemd says which file that is (`systemd.exec(5)`).
fn reads_along() -> bool {
    let said = std::env::var("JOURNAL_STREAM").ok();
    let found = rustix::fs::fstat(std::io::stderr()).ok();
    matches!((said, found), (Some(said), Some(found)) if is_stream(&said, found.st_dev, found.st_ino))
}

fn is_stream(said: &str, device: u64, inode: u64) -> bool {
    said.split_once(':').is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

/// Events as `inner` writes them; for the journal with their priority in front, which it takes off again
/// (`sd-daemon(3)`) and which says more to it than a word in the text.
struct Lines<F> {
    journal: bool,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.journal {
            write!(writer, "<{}>", priority(*event.metadata().level()))?;
        }
        self.inner.format_event(context, writer, event)
    }
}

/// syslog's number for a level.
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_its_file() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "", "8", "8:x"] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }
}
