//! The kernel's clock against the wall's.

use crate::capture::Timestamp;

/// Turns kernel timestamps into wall-clock time.
///
/// The distance between the two clocks moves when the wall clock is set, so it is measured again
/// from time to time ([`WallClock::refresh`]).
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    /// Wall clock minus monotonic clock, nanoseconds.
    offset: i128,
}

impl WallClock {
    /// Measures the distance.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            offset: nanoseconds(rustix::time::ClockId::Realtime)
                - nanoseconds(rustix::time::ClockId::Monotonic),
        }
    }

    /// Measures it again.
    pub(crate) fn refresh(&mut self) {
        *self = Self::new();
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub(crate) fn unix_nanos(&self, at: Timestamp) -> i128 {
        self.offset + i128::from(at.0)
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The time now, on the kernel side's clock.
#[must_use]
pub(crate) fn now() -> Timestamp {
    Timestamp(u64::try_from(nanoseconds(rustix::time::ClockId::Monotonic)).unwrap_or(0))
}

fn nanoseconds(clock: rustix::time::ClockId) -> i128 {
    let time = rustix::time::clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now() {
        let before = nanoseconds(rustix::time::ClockId::Realtime);
        let wall = WallClock::new().unix_nanos(now());
        let after = nanoseconds(rustix::time::ClockId::Realtime);
        // Somebody may set the clock a little just now.
        let slack = 1_000_000_000;
        assert!((before - slack..=after + slack).contains(&wall), "{wall} is not in {before} to {after}");
    }
}
