//! Money.

use std::{fmt, iter::Sum, ops::Add};

/// An amount of US dollars, in whole picodollars, so that sums do not drift: a millionth of a dollar for a
/// million tokens is one a token. The most that fits is 18 million dollars; what adds up to more stays there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

/// Of a dollar.
const PICO: f64 = 1e12;

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many picodollars.
    #[must_use]
    pub const fn from_pico(pico: u64) -> Self {
        Self(pico)
    }

    /// The picodollars.
    #[must_use]
    pub const fn pico(self) -> u64 {
        self.0
    }

    /// To the nearest picodollar; nothing where it is negative, no number, or does not fit.
    #[must_use]
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let pico = (dollars * PICO).round();
        (0.0..u64::MAX as f64).contains(&pico).then_some(Self(pico as u64))
    }

    /// In dollars, as it is shown and exported.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / PICO
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// All digits that there are, at least two of cents.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, rest) = (self.0 / 1_000_000_000_000, self.0 % 1_000_000_000_000);
        let rest = format!("{rest:012}");
        write!(f, "{dollars}.{:0<2}", rest.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_drift() {
        let tenth = Usd::from_dollars(0.1).unwrap();
        let million: Usd = std::iter::repeat_n(tenth, 1_000_000).sum();
        assert_eq!(million, Usd::from_dollars(100_000.0).unwrap());
        assert_eq!(Usd(u64::MAX) + tenth, Usd(u64::MAX));
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for dollars in [-1.0, f64::NAN, f64::INFINITY, 2e7] {
            assert_eq!(Usd::from_dollars(dollars), None);
        }
        assert_eq!(Usd::from_dollars(0.0), Some(Usd::ZERO));
    }

    #[test]
    fn shown_in_full() {
        let shown = |dollars| Usd::from_dollars(dollars).unwrap().to_string();
        assert_eq!(
            [0.0, 2.5, 0.0375, 12.0, 0.000_000_25].map(shown),
            ["0.00", "2.50", "0.0375", "12.00", "0.00000025"]
        );
    }
}
