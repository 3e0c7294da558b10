//! One LLM API call that has not ended, as far as its bytes tell.

use super::UsageSource;
use crate::{capture::Timestamp, stream::Role};

/// How far a call has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// When the request's first byte was sent.
    pub started: Timestamp,
    /// As in [`Call`](super::Call).
    pub provider: &'static str,
    /// As in [`Call`](super::Call).
    pub operation: &'static str,
    /// The model that was asked for.
    pub model: Option<&'a str>,
    /// Host the request was addressed to.
    pub server_address: Option<&'a str>,
    /// Whether the watched process sent the request or serves it.
    pub role: Role,
    /// Whether the answer comes as a stream, as far as it has come.
    pub streaming: bool,
    /// HTTP status; absent while there is none.
    pub status: Option<u16>,
    /// When the first event came that carries content; absent where the answer is no stream.
    pub first_token: Option<Timestamp>,
    /// Output tokens until now: the newest number that the provider has sent, else our own count of what has
    /// come. Absent where there is neither.
    pub output_tokens: Option<u64>,
    /// Whose number that is.
    pub usage_source: UsageSource,
}

impl Progress<'_> {
    /// Whose number it is, of these two.
    pub(super) const fn source(reported: Option<u64>, counted: Option<u64>) -> UsageSource {
        match (reported, counted) {
            (Some(_), _) => UsageSource::Reported,
            (None, Some(_)) => UsageSource::Estimated,
            (None, None) => UsageSource::Missing,
        }
    }
}
