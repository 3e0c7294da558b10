//! A usage event for each call, and a summary for each turn.
//!
//! A turn is what a model does from a user's word to its answer. Who talks to whom is nowhere kept, so the calls of one
//! process with the same session and labels are taken for one conversation: each call belongs to the turn that is
//! open there, and the one in which the model neither failed nor asked for a tool ends it. Threads that talk at the
//! same time under the same labels share their turns.

use std::{collections::BTreeMap, mem};

use serde_json::{Value, json};

use crate::report::fields::Fields;

/// Conversations that are followed at once; beyond it the turns of all end.
const MAX_OPEN: usize = 10_000;

/// What sums are made of.
const SUMS: [(&str, &str); 4] = [
    ("input_tokens", "input_tokens"),
    ("output_tokens", "output_tokens"),
    ("cache_read_tokens", "cache_read_input_tokens"),
    ("cache_write_tokens", "cache_creation_input_tokens"),
];

#[derive(Debug, Default)]
struct Turn {
    began: Option<jiff::Timestamp>,
    /// Its longest call's end so far.
    ended: Option<jiff::Timestamp>,
    session: Option<String>,
    calls: u64,
    tools: Vec<String>,
    sums: [u64; SUMS.len()],
    cost: Option<f64>,
}

/// The turns that have not ended.
#[derive(Debug, Default)]
pub(super) struct Turns(BTreeMap<(u64, String), Turn>);

impl Turns {
    pub(super) fn take(&mut self, call: Fields<'_>, out: &mut dyn FnMut(&Value)) {
        let talks = (
            call.number("process.pid").unwrap_or_default(),
            call.get("session").map(ToString::to_string).unwrap_or_default(),
        );
        if self.0.len() >= MAX_OPEN && !self.0.contains_key(&talks) {
            mem::take(self).finish(out);
        }
        // What is no step of a conversation, as an embedding, is a call of its own.
        if !call.speaks() {
            return out(&usage(call, None));
        }
        let turn = self.0.entry(talks.clone()).or_default();
        turn.add(call);
        out(&usage(call, Some(turn.calls)));
        if call.ends_turn()
            && let Some(turn) = self.0.remove(&talks)
        {
            out(&turn.summary());
        }
    }

    pub(super) fn finish(self, out: &mut dyn FnMut(&Value)) {
        self.0.into_values().for_each(|turn| out(&turn.summary()));
    }
}

impl Turn {
    fn add(&mut self, call: Fields<'_>) {
        let began = call.text("timestamp").and_then(|at| at.parse().ok());
        let took =
            call.seconds("duration_seconds").and_then(|it| jiff::SignedDuration::try_from_secs_f64(it).ok());
        let ended = began.zip(took).and_then(|(at, took): (jiff::Timestamp, _)| at.checked_add(took).ok());
        self.began = self.began.or(began);
        self.ended = self.ended.max(ended);
        self.session = call.text("session.name").map(str::to_owned);
        self.calls += u64::from(!call.is_continued());
        self.tools.extend(call.list("tool_calls").map(str::to_owned));
        for (sum, (_, field)) in self.sums.iter_mut().zip(SUMS) {
            *sum = sum.saturating_add(call.number(field).unwrap_or_default());
        }
        if let Some(cost) = call.seconds("cost_usd") {
            self.cost = Some(self.cost.unwrap_or_default() + cost);
        }
    }

    fn summary(&self) -> Value {
        let took = self.began.zip(self.ended).map(|(began, ended)| ended.duration_since(began).as_millis());
        let mut summary = json!({
            "type": "turn",
            "timestamp": self.began.map(|at| format!("{at:.6}")),
            "session_id": self.session,
            "llm_call_count": self.calls,
            "tool_call_count": self.tools.len(),
            "tool_names": self.tools,
            "cost_delta": self.cost,
            "duration_ms": took.and_then(|took| u64::try_from(took).ok()),
        });
        for (sum, (name, _)) in self.sums.iter().zip(SUMS) {
            summary[format!("{name}_delta")] = json!(sum);
        }
        summary
    }
}

/// A call; `step` is which of its turn.
fn usage(call: Fields<'_>, step: Option<u64>) -> Value {
    let mut usage = json!({
        "type": "usage",
        "timestamp": call.text("timestamp"),
        "session_id": call.text("session.name"),
        "step": step,
        "provider": call.text("provider"),
        "model": call.model(),
        "cost": call.seconds("cost_usd"),
        "finish_reason": call.list("finish_reasons").next(),
    });
    for (name, field) in SUMS {
        usage[name] = json!(call.number(field));
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::super::{Format, tests::lines};
    use super::*;
    use crate::record::{Record, tests::full};

    /// A call of so many seconds after the other, with or without a tool.
    fn step(seconds: i128, tools: &[&str]) -> Record {
        let mut record = full();
        record.started_unix_nanos += seconds * 1_000_000_000;
        record.call.error = None;
        record.call.tool_calls = tools.iter().map(|tool| (*tool).to_owned()).collect();
        record
    }

    #[test]
    fn a_turn_ends_when_the_model_has_said_what_it_has_to_say() {
        let mut failed = step(1, &[]);
        failed.call.error = Some("overloaded".to_owned());
        let mut embedding = step(2, &[]);
        embedding.call.operation = "embeddings";
        let mut elsewhere = step(2, &["bash"]);
        elsewhere.origin.process.pid = 1;
        let lines =
            lines(Format::Kit, &[step(0, &["read", "write"]), failed, embedding, elsewhere, step(3, &[])]);
        let usage = |second: u8, step: Option<u64>| {
            json!({
                "type": "usage", "timestamp": format!("2026-01-02T03:04:0{second}.123456Z"),
                "session_id": "nightly/suite-3", "step": step, "provider": "openai", "model": "gpt-4o",
                "cost": 0.0, "finish_reason": "stop", "input_tokens": 100, "output_tokens": 20,
                "cache_read_tokens": 60, "cache_write_tokens": 10,
            })
        };
        let turn = |second: u8, calls: u64, tools: &[&str], took: u64| {
            json!({
                "type": "turn", "timestamp": format!("2026-01-02T03:04:0{second}.123456Z"),
                "session_id": "nightly/suite-3", "llm_call_count": calls, "tool_call_count": tools.len(),
                "tool_names": tools, "input_tokens_delta": 100 * calls, "output_tokens_delta": 20 * calls,
                "cache_read_tokens_delta": 60 * calls, "cache_write_tokens_delta": 10 * calls,
                "cost_delta": 0.0, "duration_ms": took,
            })
        };
        let expected = [
            usage(5, Some(1)),
            usage(6, Some(2)),
            usage(7, None),
            usage(7, Some(1)),
            usage(8, Some(3)),
            turn(5, 3, &["read", "write"], 4500),
            turn(7, 1, &["bash"], 1500),
        ];
        assert_eq!(lines, expected);
    }
}
