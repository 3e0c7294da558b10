//! One LLM API call, as far as its bytes tell.

use std::borrow::Cow;

use super::pace::ChunkTimes;
use crate::{capture::Timestamp, stream::Role};

/// Where the token numbers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UsageSource {
    /// The provider said so.
    Reported,
    /// Counted by us.
    Estimated,
    /// Nobody said.
    #[default]
    Missing,
}

impl UsageSource {
    /// The value of the `usage_source` field and label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Missing => "missing",
        }
    }
}

/// The header by which a client labels a single call, or all calls of the WebSocket that it opens, in the form of W3C's baggage: `data_id=7`.
pub(super) const LABELS: &str = "x-llm-tracker-labels";

/// Token counts, normalised: what is a subset of what never depends on the provider.
/// Absent means not known; a number is never a placeholder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All prompt tokens, cached ones included.
    pub input_tokens: Option<u64>,
    /// Subset of `input_tokens` that was read from the provider's cache.
    pub cache_read_input_tokens: Option<u64>,
    /// Subset of `input_tokens` that was written to the provider's cache.
    pub cache_creation_input_tokens: Option<u64>,
    /// Subset of `cache_creation_input_tokens` that is kept for an hour and not for the usual five minutes.
    pub cache_creation_1h_input_tokens: Option<u64>,
    /// Subset of `input_tokens` that is audio.
    pub audio_input_tokens: Option<u64>,
    /// Subset of `input_tokens` that is images.
    pub image_input_tokens: Option<u64>,
    /// All generated tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Subset of `output_tokens` spent on reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Subset of `output_tokens` that is audio.
    pub audio_output_tokens: Option<u64>,
    /// Subset of `output_tokens` that is images.
    pub image_output_tokens: Option<u64>,
    /// Who counted.
    pub source: UsageSource,
}

/// One LLM API call, before anybody asked whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// When the request's first byte was sent.
    pub started: Timestamp,
    /// OTel `gen_ai.provider.name` where one exists, else a stable lower-case name.
    pub provider: &'static str,
    /// OTel `gen_ai.operation.name`.
    pub operation: &'static str,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The model that answered.
    pub response_model: Option<String>,
    /// The provider's id of the response.
    pub response_id: Option<String>,
    /// Host the request was addressed to.
    pub server_address: Option<String>,
    /// Port, where the request named one.
    pub server_port: Option<u16>,
    /// Path without its query.
    pub path: String,
    /// Whether the watched process sent or served the request.
    pub role: Role,
    /// Whether the answer came as a stream.
    pub streaming: bool,
    /// HTTP status; absent when no response head was seen.
    pub status: Option<u16>,
    /// Error type, the provider's where it gave one; `interrupted` for a stream that ended before
    /// its own terminator.
    pub error: Option<String>,
    /// The provider's own words, in order, without repeats.
    pub finish_reasons: Vec<String>,
    /// Token counts.
    pub usage: Usage,
    /// Names of the client's tools that the model called, in order.
    pub tool_calls: Vec<String>,
    /// Names of the provider's own tools that the model used, in order; where they have none, their
    /// kinds.
    pub server_tool_calls: Vec<String>,
    /// The service tier that answered, in the provider's words.
    pub service_tier: Option<String>,
    /// What the provider says that the call costs, in the unit it bills in; see [`Call::stated_cost_usd`].
    pub cost: Option<f64>,
    /// It was made under a subscription, which is paid by the month and not by the call.
    pub subscription: bool,
    /// The end of a call that was reported before: a response that is made in the background was asked
    /// for, and is done. It brings the usage, but is no further call.
    pub continued: bool,
    /// Which repetition of a request that failed it is, the first being 1; zero where the client says
    /// that it is none, absent where nothing is known of one.
    pub retry: Option<u32>,
    /// What the client says in a header that the call is for (`x-llm-tracker-labels`), undecoded.
    pub labels: Option<String>,
    /// From the request's first byte to the first event that carries content, seconds.
    pub time_to_first_token_seconds: Option<f64>,
    /// What an output token of a streamed answer took on average, of those after the first, seconds
    /// (OTel `gen_ai.server.time_per_output_token`). Absent where some were spent on reasoning: nobody says
    /// whether those were streamed.
    pub time_per_output_token_seconds: Option<f64>,
    /// The times between the chunks of a streamed answer.
    pub chunk_times: ChunkTimes,
    /// From the request's first byte to the response's last, seconds.
    pub duration_seconds: f64,
}

impl Call {
    /// Reported output tokens a second, over the whole duration; absent for what took no time that could
    /// be measured.
    #[must_use]
    pub fn output_tokens_per_second(&self) -> Option<f64> {
        let reported = self.usage.source == UsageSource::Reported;
        let tokens = self.usage.output_tokens.filter(|_| reported)?;
        Self::tokens_per_second(tokens, self.duration_seconds)
    }

    /// The same of a call of which only the numbers are there.
    #[must_use]
    pub fn tokens_per_second(reported: u64, seconds: f64) -> Option<f64> {
        let rate = reported as f64 / seconds;
        (reported > 0 && seconds > 0.0 && rate.is_finite()).then_some(rate)
    }

    /// OTel's `error.type`: the error, else the status where that is one; absent for what went well.
    #[must_use]
    pub fn error_type(&self) -> Option<Cow<'_, str>> {
        match (&self.error, self.status) {
            (Some(error), _) => Some(error.into()),
            (None, Some(status @ 400..)) => Some(status.to_string().into()),
            (None, _) => None,
        }
    }

    /// What the provider says that the call costs, US dollars; absent where it does not say, or where
    /// the unit is not known.
    #[must_use]
    pub fn stated_cost_usd(&self) -> Option<f64> {
        let (_, unit) = UNITS.iter().find(|(provider, _)| *provider == self.provider)?;
        self.cost.map(|cost| cost * unit).filter(|cost| cost.is_finite())
    }
}

/// The unit of the cost in answers, US dollars, of the providers whose API references say it.
const UNITS: [(&str, f64); 4] =
    [("openrouter", 1.0), ("perplexity", 1.0), ("vercel_ai_gateway", 1.0), ("x_ai", 1e-10)];

#[cfg(test)]
impl Call {
    /// The same with the times of a call of the same bytes in other pieces, each at its own time; how many
    /// chunks there were has to agree.
    pub(super) fn at_the_times_of(self, other: &Self) -> Self {
        let chunks = |call: &Self| call.chunk_times.counts.iter().sum::<u32>();
        assert_eq!(chunks(&self), chunks(other));
        Self {
            time_to_first_token_seconds: other.time_to_first_token_seconds,
            time_per_output_token_seconds: other.time_per_output_token_seconds,
            chunk_times: other.chunk_times.clone(),
            duration_seconds: other.duration_seconds,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_biller_is_a_provider() {
        for (provider, _) in UNITS {
            assert!(super::super::vendors::VENDORS.iter().any(|vendor| vendor.provider == provider));
        }
    }
}
