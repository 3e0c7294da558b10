//! Numbers that the daemon's parts have about themselves.

use std::borrow::Cow;

/// Whether a number only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// One number about the daemon. Samples of one name have the same help, kind and label names.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Metric name, with its unit.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// Whether it only rises.
    pub kind: Kind,
    /// Label names and values.
    pub labels: Vec<(&'static str, Cow<'static, str>)>,
    /// The number.
    pub value: f64,
}

impl Sample {
    /// A counter without labels.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: Kind::Counter, labels: Vec::new(), value: value as f64 }
    }

    /// A gauge without labels.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: Kind::Gauge, labels: Vec::new(), value }
    }

    /// The same with one more label.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.labels.push((name, value.into()));
        self
    }
}

/// Whoever has numbers about the daemon. Asked at every scrape, so it must not block.
pub trait SelfMetrics: Send + Sync {
    /// The numbers as they are now.
    fn samples(&self) -> Vec<Sample>;
}

impl<F: Fn() -> Vec<Sample> + Send + Sync> SelfMetrics for F {
    fn samples(&self) -> Vec<Sample> {
        self()
    }
}
