//! Moments as people type them.

use std::{str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::human;

/// An age, or a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long ago.
    Age(Duration),
    /// Then.
    At(Timestamp),
}

impl Moment {
    /// The point in time, seen from `now`.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Age(age) => SignedDuration::try_from(age)
                .ok()
                .and_then(|age| now.checked_sub(age).ok())
                .map_or(Timestamp::UNIX_EPOCH, |at| at.max(Timestamp::UNIX_EPOCH)),
        }
    }
}

/// A text that is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: write an age (90m, 24h, 7d, 4w), a date (2026-01-31, in UTC) or RFC 3339")]
pub struct NoMoment(String);

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        if let Ok(date) = text.parse::<Date>()
            && let Ok(midnight) = date.to_zoned(TimeZone::UTC)
        {
            return Ok(Self::At(midnight.timestamp()));
        }
        human::parse_duration(text).map(Self::Age).map_err(|_| NoMoment(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_dates_and_times() {
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        for (text, at) in [
            ("90s", "2026-01-31T23:58:30Z"),
            ("90m", "2026-01-31T22:30:00Z"),
            ("24h", "2026-01-31T00:00:00Z"),
            ("7d", "2026-01-25T00:00:00Z"),
            ("1w", "2026-01-25T00:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T08:00:00+01:00", "2026-01-31T07:00:00Z"),
            ("3000w", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().before(now), at.parse().unwrap(), "{text}");
        }
        for text in ["", "h", "yesterday", "1y", "-5m", "18446744073709551615w", "ü"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
