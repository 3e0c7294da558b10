//! Every metric about calls: what it is called here and in OpenTelemetry, and its labels.

use super::labels::{Label, MODEL};
use crate::provider::SECONDS_BUCKETS;

/// Bounds that OTel advises for `gen_ai.client.token.usage`.
const TOKEN_BUCKETS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Bounds that OTel advises for the time of a token, seconds.
const TOKEN_SECONDS_BUCKETS: [f64; 13] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Bounds for tokens a second: from a large model on a small machine to a small one on a large.
const RATE_BUCKETS: [f64; 12] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

/// The names of one metric.
#[derive(Clone, Copy, Debug)]
pub(in crate::export) struct Metric {
    /// In Prometheus, with the unit, and `_total` where it only rises.
    pub(in crate::export) name: &'static str,
    /// In OpenTelemetry: the name that the semantic conventions give it, else one of ours.
    pub(in crate::export) otel: &'static str,
    /// Its unit in OpenTelemetry's words (UCUM).
    pub(in crate::export) unit: &'static str,
    /// One sentence for people.
    pub(in crate::export) help: &'static str,
}

/// What is observed call by call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Distribution {
    OperationDuration,
    TimeToFirstChunk,
    TimePerOutputChunk,
    OutputRate,
    TokenUsage,
    ServerDuration,
    ServerTimeToFirstToken,
    ServerTimePerOutputToken,
}

impl Distribution {
    /// In the order of the page.
    pub(super) const ALL: [Self; 8] = [
        Self::OperationDuration,
        Self::TimeToFirstChunk,
        Self::TimePerOutputChunk,
        Self::OutputRate,
        Self::TokenUsage,
        Self::ServerDuration,
        Self::ServerTimeToFirstToken,
        Self::ServerTimePerOutputToken,
    ];

    pub(super) const fn metric(self) -> Metric {
        let (name, otel, unit, help) = match self {
            Self::OperationDuration => (
                "gen_ai_client_operation_duration_seconds",
                "gen_ai.client.operation.duration",
                "s",
                "Time from the first byte of a request to the last byte of its response.",
            ),
            Self::TimeToFirstChunk => (
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "gen_ai.client.operation.time_to_first_chunk",
                "s",
                "Time from the first byte of a request to the first content of its streamed response.",
            ),
            Self::TimePerOutputChunk => (
                "gen_ai_client_operation_time_per_output_chunk_seconds",
                "gen_ai.client.operation.time_per_output_chunk",
                "s",
                "Time from one chunk with content to the next, of streamed responses.",
            ),
            Self::OutputRate => (
                "llm_output_tokens_per_second",
                "llm_tracker.client.output_rate",
                "{token}/s",
                "Output tokens of a call by its whole duration.",
            ),
            Self::TokenUsage => (
                "gen_ai_client_token_usage",
                "gen_ai.client.token.usage",
                "{token}",
                "Tokens of a call: input with cached ones, output with reasoning. usage_source=\"estimated\": no provider reported them.",
            ),
            Self::ServerDuration => (
                "gen_ai_server_request_duration_seconds",
                "gen_ai.server.request.duration",
                "s",
                "Time that processes on this host took to serve a request.",
            ),
            Self::ServerTimeToFirstToken => (
                "gen_ai_server_time_to_first_token_seconds",
                "gen_ai.server.time_to_first_token",
                "s",
                "Time to the first content of the streamed responses that processes on this host served.",
            ),
            Self::ServerTimePerOutputToken => (
                "gen_ai_server_time_per_output_token_seconds",
                "gen_ai.server.time_per_output_token",
                "s",
                "Time per output token after the first, of streamed responses that processes on this host served.",
            ),
        };
        Metric { name, otel, unit, help }
    }

    /// Upper bounds of its buckets.
    pub(super) const fn bounds(self) -> &'static [f64] {
        match self {
            Self::OutputRate => &RATE_BUCKETS,
            Self::TokenUsage => &TOKEN_BUCKETS,
            Self::ServerTimePerOutputToken => &TOKEN_SECONDS_BUCKETS,
            Self::OperationDuration
            | Self::TimeToFirstChunk
            | Self::TimePerOutputChunk
            | Self::ServerDuration
            | Self::ServerTimeToFirstToken => &SECONDS_BUCKETS,
        }
    }

    pub(super) fn labels(self) -> Vec<Label> {
        let more: &[Label] = match self {
            Self::OperationDuration | Self::ServerDuration => &[Label::ErrorType],
            Self::TokenUsage => &[Label::TokenType, Label::UsageSource],
            _ => &[],
        };
        [&MODEL, more].concat()
    }

    /// Whether its buckets name a call that fell into them: where people look for one.
    pub(super) const fn has_exemplars(self) -> bool {
        matches!(self, Self::OperationDuration | Self::TimeToFirstChunk)
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    Tokens,
    Calls,
    Retries,
    CallsSeen,
    Unpriced,
}

impl Counter {
    /// In the order of the page.
    pub(super) const ALL: [Self; 5] =
        [Self::Tokens, Self::Calls, Self::Retries, Self::CallsSeen, Self::Unpriced];

    pub(super) const fn metric(self) -> Metric {
        let (name, otel, unit, help) = match self {
            Self::Tokens => (
                "llm_tokens_total",
                "llm_tracker.client.tokens",
                "{token}",
                "Tokens by type. cache_read and cache_creation are part of input, reasoning is part of output. usage_source=\"estimated\": no provider reported them.",
            ),
            Self::Calls => (
                "llm_calls_total",
                "llm_tracker.client.calls",
                "{call}",
                "LLM API calls made, by HTTP status and error type.",
            ),
            Self::Retries => (
                "llm_retries_total",
                "llm_tracker.client.retries",
                "{call}",
                "LLM API calls that repeated one that had failed.",
            ),
            Self::CallsSeen => (
                "llm_tracker_calls_total",
                "llm_tracker.calls",
                "{call}",
                "LLM API calls seen, by where the token counts come from; missing: the call counts, its tokens are not known.",
            ),
            Self::Unpriced => (
                "llm_tracker_unpriced_calls_total",
                "llm_tracker.calls.unpriced",
                "{call}",
                "LLM API calls whose cost is not known because there is no price for their model at this provider.",
            ),
        };
        Metric { name, otel, unit, help }
    }

    pub(super) fn labels(self, origin: &[Label]) -> Vec<Label> {
        match self {
            Self::Tokens => [MODEL.as_slice(), &[Label::Type, Label::UsageSource], origin].concat(),
            Self::Calls => [MODEL.as_slice(), &[Label::Status, Label::Error], origin].concat(),
            Self::Retries => [MODEL.as_slice(), origin].concat(),
            Self::CallsSeen => vec![Label::Role, Label::UsageSource],
            Self::Unpriced => vec![Label::UnpricedProvider, Label::UnpricedModel],
        }
    }
}

/// What is added up in dollars.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    Cost,
    ListCost,
}

impl Amount {
    /// In the order of the page.
    pub(super) const ALL: [Self; 2] = [Self::Cost, Self::ListCost];

    pub(super) const fn metric(self) -> Metric {
        let (name, otel, help) = match self {
            Self::Cost => (
                "llm_cost_usd_total",
                "llm_tracker.client.cost",
                "Cost of calls in US dollars: what the provider states, else by the prices of their models.",
            ),
            Self::ListCost => (
                "llm_subscription_list_cost_usd_total",
                "llm_tracker.client.subscription_list_cost",
                "What calls under subscriptions, which cost nothing, would have cost by the prices of their models, US dollars.",
            ),
        };
        Metric { name, otel, unit: "{USD}", help }
    }
}
