//! One response of a conversation, while it lasts.

use super::{Session, said::MAX_TOOLS};
use crate::{
    capture::Timestamp,
    provider::{Call, Usage, UsageSource, pace::Pace},
};

/// What a response has said of itself so far.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) started: Timestamp,
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) served: Option<String>,
    pub(super) pace: Pace,
    pub(super) tools: Vec<String>,
    pub(super) finish_reasons: Vec<String>,
    pub(super) usage: Usage,
    pub(super) error: Option<String>,
    /// The HTTP status that an error names; the upgrade's otherwise.
    pub(super) status: Option<u16>,
    /// Differs from the conversation's where something else is done in it.
    pub(super) operation: Option<&'static str>,
    /// The server has answered.
    pub(super) answered: bool,
    /// Asked for without wanting an answer: no call.
    pub(super) warm_up: bool,
    /// Nobody was seen to ask for it.
    pub(super) unasked: bool,
    /// Messages were lost while it was open.
    pub(super) doubtful: bool,
    /// Not all was heard of it, or what was heard may be another's.
    pub(super) unheard: bool,
    /// Estimated tokens of the prompt, where it came with the request.
    pub(super) input: Option<u64>,
    /// It is over, but its usage may still come.
    pub(super) ended: bool,
}

impl Turn {
    pub(super) fn begun(started: Timestamp) -> Self {
        Self { started, ..Self::default() }
    }

    /// The conversation ended first.
    pub(super) fn cut_short(mut self) -> Self {
        if !self.ended {
            self.error.get_or_insert_with(|| "interrupted".into());
        }
        self
    }

    pub(super) fn content(&mut self, at: Timestamp) {
        self.answered = true;
        self.pace.content(1, at);
    }

    /// Whether it has brought forth nothing at all, and is billed for nothing.
    pub(super) fn is_empty(&self) -> bool {
        !self.pace.has_content()
            && self.tools.is_empty()
            && self.error.is_none()
            && self.usage.output_tokens.unwrap_or(0) == 0
    }

    pub(super) fn add_tools(&mut self, names: Vec<String>) {
        let room = MAX_TOOLS.saturating_sub(self.tools.len());
        self.tools.extend(names.into_iter().take(room));
    }
}

impl Session {
    /// Hands out the turn as a call, if it is one.
    pub(super) fn emit(&mut self, mut turn: Turn, at: Timestamp, out: &mut dyn FnMut(Call)) {
        let transcribes = turn.operation.is_some();
        if let Some(ears) = self.ears.as_mut().filter(|_| !transcribes && !turn.warm_up) {
            ears.finish(&mut turn);
        }
        // At a host that nobody knows the server has to have spoken the language too.
        if turn.warm_up || !(self.route.certain || turn.answered) {
            return;
        }
        let Turn { started, pace, usage, .. } = turn;
        let reasoned = usage.reasoning_tokens.is_some_and(|tokens| tokens > 0);
        let whole = turn.error.is_none() && !reasoned && usage.source == UsageSource::Reported;
        let per_token = pace.time_per_token(usage.output_tokens).filter(|_| whole);
        out(Call {
            started,
            provider: self.route.provider,
            operation: turn.operation.unwrap_or(self.route.operation),
            model: turn.model.or_else(|| self.model.clone().filter(|_| !transcribes)),
            response_model: turn.served.or_else(|| self.served.clone().filter(|_| !transcribes)),
            response_id: turn.id,
            server_address: self.host.clone(),
            server_port: self.port,
            path: self.path.clone(),
            role: self.role,
            streaming: true,
            status: turn.status.or(self.status),
            error: turn.error,
            finish_reasons: turn.finish_reasons,
            usage,
            tool_calls: turn.tools,
            server_tool_calls: Vec::new(),
            service_tier: None,
            cost: None,
            subscription: self.subscription,
            continued: false,
            retry: None,
            labels: self.labels.clone(),
            time_to_first_token_seconds: pace.time_to_first_token(started),
            time_per_output_token_seconds: per_token,
            chunk_times: pace.times(),
            duration_seconds: at.seconds_since(started),
        });
    }
}
