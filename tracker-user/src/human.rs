//! Numbers, moments, durations and sizes as people read and write them.

use std::{fmt, time::Duration};

use jiff::{Span, SpanRelativeTo, Timestamp};
use serde::{Deserialize, Serialize};

/// A moment, by nanoseconds since the Unix epoch; the epoch itself where our calendar has no such moment.
pub(crate) fn moment(unix_nanos: impl Into<i128>) -> Timestamp {
    Timestamp::from_nanosecond(unix_nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `1,234,567`
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a whole in per cent; `0` where it is none.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if part == 0 { "0".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64) }
}

/// Dollars: cents, and more digits where there are only fractions of them.
#[must_use]
pub fn usd(dollars: f64) -> String {
    let digits = match dollars.abs() {
        0.0 | 0.1.. => 2,
        0.001.. => 4,
        _ => 6,
    };
    let text = format!("{:.digits$}", dollars.abs());
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), count);
    format!("{}${whole}.{cents}", if dollars < 0.0 { "-" } else { "" })
}

/// A time in the unit that fits.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.9995 => format!("{:.0} ms", seconds * 1e3),
        ..99.95 => format!("{seconds:.1} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// A text that says nothing of what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHuman {
    /// It is no duration.
    #[error("`{0}` is no duration: write a number and a unit, like 90s, 15m, 24h, 7d or 4w")]
    Duration(String),
    /// It is no size.
    #[error("`{0}` is no size: write a number of bytes and a unit, like 500MB, 4GB or 512MiB")]
    Size(String),
}

/// A length of time, as the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lasting(pub Duration);

/// A size in bytes, as the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

/// In the largest unit of which it is a whole number.
fn whole(number: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, unit): &&(&str, u64)| number > 0 && number.is_multiple_of(*unit);
    let (name, unit) = units.iter().find(fits).or(units.last()).copied().unwrap_or(("", 1));
    format!("{}{name}", number / unit)
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&whole(self.0.as_secs(), &[("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&whole(self.0, &[("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000), ("", 1)]))
    }
}

impl From<Lasting> for String {
    fn from(lasting: Lasting) -> Self {
        lasting.to_string()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl TryFrom<String> for Lasting {
    type Error = NotHuman;

    fn try_from(text: String) -> Result<Self, NotHuman> {
        parse_duration(&text).map(Self)
    }
}

impl TryFrom<String> for Size {
    type Error = NotHuman;

    fn try_from(text: String) -> Result<Self, NotHuman> {
        parse_bytes(&text).map(Self)
    }
}

/// Reads a duration: `90s`, `1h 30m`, `7 days`, `4w`. A day has 24 hours; months and years have no length.
///
/// # Errors
/// It is none, or negative.
pub fn parse_duration(text: &str) -> Result<Duration, NotHuman> {
    let read = || {
        let span: Span = text.trim().parse().ok()?;
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(duration).ok()
    };
    read().ok_or_else(|| NotHuman::Duration(text.to_owned()))
}

/// Reads a size: `4096`, `500MB`, `4 GB`, `512MiB`. A fraction is rounded down.
///
/// # Errors
/// It is none.
pub fn parse_bytes(text: &str) -> Result<u64, NotHuman> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    let read = || {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.trim().to_ascii_lowercase();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(*factor),
            Err(_) => {
                let size = number.parse::<f64>().ok()? * *factor as f64;
                (size < u64::MAX as f64).then_some(size as u64)
            }
        }
    };
    read().ok_or_else(|| NotHuman::Size(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.000_12, 0.0123, 1.5, 1234.5, -0.5].map(usd),
            ["$0.00", "$0.000120", "$0.0123", "$1.50", "$1,234.50", "-$0.50"]
        );
        assert_eq!(
            [0.0012, 0.9999, 99.0, 120.0, 7200.0, 604_800.0].map(seconds),
            ["1 ms", "1.0 s", "99.0 s", "2 min", "2.0 h", "7.0 d"]
        );
        assert_eq!((share(0, 0), share(1, 3)), ("0".to_owned(), "33.3 %".to_owned()));
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for seconds in [0, 59, 60, 5400, 86_400, 90 * 86_400] {
            let lasting = Lasting(Duration::from_secs(seconds));
            assert_eq!(Lasting::try_from(lasting.to_string()), Ok(lasting));
        }
        for bytes in [0, 1, 1000, 1024, 4_000_000_000, u64::MAX] {
            assert_eq!(Size::try_from(Size(bytes).to_string()), Ok(Size(bytes)));
        }
        assert_eq!(Lasting(Duration::from_secs(90 * 86_400)).to_string(), "90d");
        assert_eq!(Size(4_000_000_000).to_string(), "4GB");
    }

    #[test]
    fn durations_and_sizes_are_read_as_they_are_typed() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800), ("1w 1d", 691_200), ("1h30m", 5400)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "5", "-5m", "1y", "yesterday", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (text, size) in
            [("4096", 4096), ("500MB", 500_000_000), ("4 gb", 4_000_000_000), ("1.5KiB", 1536), ("0", 0)]
        {
            assert_eq!(parse_bytes(text), Ok(size), "{text}");
        }
        for text in ["", "GB", "1.2.3MB", "4 apples", "-1", "99999999999TB", "1e9"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
